use std::collections::BTreeSet;
#[cfg(unix)]
use std::path::{Path, PathBuf};

use super::*;
#[cfg(unix)]
use crate::Error;

/// RFC 8410 §10.3: a key in version 1, without its public key.
const RFC_V1: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const RFC_PUBLIC: [u8; 32] = [
    0x19, 0xbf, 0x44, 0x09, 0x69, 0x84, 0xcd, 0xfe, 0x85, 0x41, 0xba, 0xc1, 0x67, 0xdc, 0x3b, 0x96, 0xc8, 0x50, 0x86,
    0xaa, 0x30, 0xb6, 0xb6, 0xcb, 0x0c, 0x5c, 0x38, 0xad, 0x70, 0x31, 0x66, 0xe1,
];

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

#[test]
fn a_signature_is_for_one_key_one_message_and_one_domain() {
    const OTHER: Domain = Domain::new("p2p/1 other");
    let signature = key(1).sign(b"hello");
    assert!(key(1).public().verify(b"hello", &signature).is_ok());
    assert!(key(2).public().verify(b"hello", &signature).is_err());
    assert!(key(1).public().verify(b"hullo", &signature).is_err());
    assert!(key(1).public().verify(b"hello", &signature[..63]).is_err());
    assert!(key(1).public().verify_for(OTHER, &[b"hello"], &signature).is_err());
    assert!(key(1).public().verify_raw(b"hello", &signature).is_err());
    assert!(key(1).public().verify_raw(b"p2p/1 application\0hello", &signature).is_ok(), "as documented");
}

#[test]
fn the_secret_is_not_shown() {
    let text = format!("{:?}", key(0x41));
    assert!(text.len() < 24 && !text.contains("AAAA") && !text.contains("65"), "{text}");
}

#[test]
fn pem_round_trips_and_reads_what_others_write() {
    let pem = key(3).to_pkcs8_pem();
    assert_eq!(KeyPair::from_pkcs8_pem(&pem).unwrap().peer_id(), key(3).peer_id());
    assert!(ring::signature::Ed25519KeyPair::from_pkcs8(&key(3).to_der()).is_ok(), "version 2 as ring reads it");
    assert_eq!(KeyPair::from_pkcs8_pem(RFC_V1).unwrap().public().as_bytes(), &RFC_PUBLIC);
    assert!(KeyPair::from_pkcs8_pem(&RFC_V1.replace('\n', "\r\n")).is_ok());
    let written_by_ring = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    assert!(KeyPair::from_der(written_by_ring.as_ref()).is_ok());
    let keys: BTreeSet<_> = (0..4).map(|_| KeyPair::generate(&KeyPairType::Ed25519).peer_id()).collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn damaged_pem_is_refused() {
    let pem = key(3).to_pkcs8_pem();
    let refused = |pem: &str, why: &str| match KeyPair::from_pkcs8_pem(pem) {
        Err(error) => assert!(error.to_string().contains(why), "{error} for {pem:?}"),
        Ok(_) => panic!("accepted: {pem:?}"),
    };
    refused("", "begin with");
    refused(&pem.replace("PRIVATE", "PUBLIC"), "begin with");
    refused(&pem.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE"), "encrypted");
    refused(&pem[..pem.len() - 3], "end with");
    refused(&format!("{pem}{pem}"), "follows");
    refused(&format!("x{pem}"), "begin with");
    refused(&pem.replacen("MF", "M!", 1), "base64");
    refused(&" ".repeat(MAX_PEM_LEN + 1), "longer than an Ed25519 key");
    // Each bit of the structure and both keys matters.
    let der = key(3).to_der();
    for at in 0..der.len() * 8 {
        let mut der = der.clone();
        der[at / 8] ^= 1 << (at % 8);
        assert!(KeyPair::from_der(&der).is_err(), "bit {at}");
    }
}

#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "the tests prepare and inspect files as an outsider would, and race")]
mod files {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn write(path: &Path, content: &[u8]) {
        std::fs::write(path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        (folder, path)
    }

    #[test]
    fn a_key_in_a_folder_that_does_not_exist_is_an_error_and_no_new_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/node.key");
        let error = KeyPair::load_or_generate(&path).unwrap_err().to_string();
        assert!(error.contains("node.key") && error.contains("create the folder first"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
        // Asked to.
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        KeyPair::load_or_generate(&path).unwrap();
    }

    #[test]
    fn a_mounted_secret_that_others_may_read_is_refused_with_both_ways_out() {
        let (_folder, path) = folder();
        let key = KeyPair::load_or_generate(&path).unwrap();
        for bits in [0o644, 0o444] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            let error = KeyPair::load_or_generate(&path).unwrap_err().to_string();
            for way in ["chmod 600", "0400", "KeyPair::from_pkcs8_pem"] {
                assert!(error.contains(way), "{way}: {error}");
            }
        }
        let text = String::from_utf8(read(&path)).unwrap();
        assert_eq!(KeyPair::from_pkcs8_pem(&text).unwrap().peer_id(), key.peer_id());
    }

    #[test]
    fn the_same_key_comes_back() {
        let (_folder, path) = folder();
        let first = KeyPair::load_or_generate(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        let content = read(&path);
        assert_eq!(KeyPair::load_or_generate(&path).unwrap().peer_id(), first.peer_id());
        assert_eq!(read(&path), content);
    }

    #[test]
    fn what_is_not_a_key_is_named_and_left_alone() {
        let (_folder, path) = folder();
        for content in [&b""[..], b"not a key", &[0xff; 10], &[b' '; 5000], &key(1).to_pkcs8_pem().as_bytes()[..100]] {
            write(&path, content);
            let error = KeyPair::load_or_generate(&path).unwrap_err();
            assert!(matches!(error, Error::Key(KeyError::File { .. })), "{error:?}");
            assert!(error.to_string().contains("node.key"), "{error}");
            assert_eq!(read(&path), content);
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_folder, path) = folder();
        KeyPair::load_or_generate(&path).unwrap();
        for (bits, refused) in [(0o644, true), (0o620, true), (0o602, true), (0o640, false), (0o400, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bits)).unwrap();
            match KeyPair::load_or_generate(&path) {
                Ok(_) => assert!(!refused, "{bits:o}"),
                Err(error) => {
                    assert!(refused && error.to_string().contains("chmod 600"), "{bits:o}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_folder_in_its_place_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = KeyPair::load_or_generate(folder.path()).unwrap_err();
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    }

    #[test]
    fn all_who_race_get_the_same_key() {
        let (_folder, path) = folder();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || KeyPair::load_or_generate(path).unwrap().peer_id())
            })
            .collect();
        let ids: BTreeSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 1);
        let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left");
    }
}
