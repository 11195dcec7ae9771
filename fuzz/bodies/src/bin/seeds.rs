//! Writes the seeds of each target, and the longest input that it wants, into a folder.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program for developers uses files directly")]

use std::fs;
use std::io::{Error, Result};
use std::path::PathBuf;

use p2p_fuzz_bodies::{TARGETS, Target};

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| Error::other("usage: seeds FOLDER"))?;
    for Target { name, max_len, seeds, .. } in TARGETS {
        let of_target = folder.join(name);
        fs::create_dir_all(&of_target)?;
        for (n, seed) in seeds().iter().enumerate() {
            fs::write(of_target.join(format!("seed-{n}")), seed)?;
        }
        println!("{name} {max_len}");
    }
    Ok(())
}
