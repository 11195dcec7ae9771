//! Each body, briefly: on its seeds, on the inputs that are kept, on those that once were findings, and on some thousand
//! that are made from them. The same inputs on each run and each machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test reads files directly")]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use p2p_fuzz_bodies::{TARGETS, Target};

/// Inputs that are made for each target.
const MADE: usize = 3_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files of a target in a folder of `fuzz/`, in the order of their names.
fn kept(folder: &str, target: &Target) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(fuzz().join(folder).join(target.name)) else { return Vec::new() };
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// Splitmix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Any byte, those at the edges of encodings as likely as all others together.
    fn byte(&mut self) -> u8 {
        const EDGES: [u8; 8] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff];
        if self.below(2) == 0 { EDGES[self.below(EDGES.len())] } else { self.next() as u8 }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// An input of noise, or one like those that are known.
    fn input(&mut self, known: &[Vec<u8>], max_len: usize) -> Vec<u8> {
        if known.is_empty() || self.below(4) == 0 {
            let len = self.below(max_len);
            return self.bytes(len);
        }
        let mut input = known[self.below(known.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            match self.below(5) {
                0 => input.truncate(at),
                1 => {
                    let len = self.below(8);
                    let new: Vec<u8> = (0..len).map(|_| self.byte()).collect();
                    input.splice(at..at, new);
                }
                2 => {
                    let other = &known[self.below(known.len())];
                    let from = self.below(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
                _ => {
                    let new = self.byte();
                    input.get_mut(at).into_iter().for_each(|byte| *byte = new);
                }
            }
        }
        input.truncate(max_len.max(1));
        input
    }
}

fn run(target: &Target, what: &str, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let bytes: String = input.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        eprintln!("{what} broke the target {}:\n  printf '{bytes}'", target.name);
        resume_unwind(panic);
    }
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut known = (target.seeds)();
    assert!(!known.is_empty());
    known.iter().enumerate().for_each(|(n, seed)| run(target, &format!("seed {n}"), seed));
    for folder in ["corpus", "regressions"] {
        for (path, input) in kept(folder, target) {
            run(target, &path, &input);
            known.push(input);
        }
    }
    run(target, "no input", &[]);
    let mut random = Random(7);
    for n in 0..MADE {
        let input = random.input(&known, target.max_len);
        run(target, &format!("made input {n}"), &input);
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_target_is_tested() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

tests! {
    backoff ban_list byte_budget certificate close_reason codec control dht_connections dht_datagram dht_dials
    dht_lookup dht_message dht_rate dht_state dht_store dht_table endpoint event_bus handshake handshake_limiter
    handshake_message messages mux_hostile mux_pair observed_address peer_id pem ping prefix_counter protocol_id
    record registry registry_pair remembered reputation stream_header token_bucket turns version
}

/// What `fuzz/` runs is what is tested here.
#[test]
fn each_target_has_its_program() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let mut programs = BTreeSet::new();
    for Target { name, .. } in TARGETS {
        let program =
            format!("#![no_main]\n\nlibfuzzer_sys::fuzz_target!(|data: &[u8]| p2p_fuzz_bodies::{name}::run(data));\n");
        let file = format!("{name}.rs");
        assert_eq!(fs::read_to_string(fuzz().join("fuzz_targets").join(&file)).unwrap(), program);
        assert!(manifest.contains(&format!("\nname = \"{name}\"\npath = \"fuzz_targets/{file}\"\n")), "{name}");
        programs.insert(file);
    }
    let there = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    assert_eq!(there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>(), programs);
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

/// Kept inputs belong to a target, and are small.
#[test]
fn what_is_kept_is_small_and_has_a_target() {
    for folder in ["corpus", "regressions"] {
        let Ok(entries) = fs::read_dir(fuzz().join(folder)) else { continue };
        for name in entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()) {
            let target = TARGETS.iter().find(|target| target.name == name);
            let bytes: usize = kept(folder, target.expect(&name)).iter().map(|(_, input)| input.len()).sum();
            assert!(bytes < 100 << 10, "{folder}/{name}: {bytes} bytes");
        }
    }
}
