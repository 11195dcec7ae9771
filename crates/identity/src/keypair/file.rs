//! A node's key in a file.

use std::io::ErrorKind;
use std::path::Path;

use p2p_core::{FileSystem, HostFiles};

use super::pem::{MAX_PEM_LEN, TOO_LONG};
use super::{KeyError, KeyPair, KeyPairType, wipe};
use crate::{Error, Result};

impl KeyPair {
    /// Reads the key of a PEM file, or makes one and writes it there for its owner's eyes only (mode 0600). A file that
    /// exists is never overwritten, whatever is in it; if another process makes the file at the
    /// same moment, both get the same key. Blocks for as long as the disk takes.
    ///
    /// Its folder must exist: a folder that is missing is more often a mistyped path, or a disk that is not mounted,
    /// than a new node, and a new key is a new identity. Create the folder first where one is wanted.
    ///
    /// Where the system has permission bits, a file that anybody but its owner and group may read, or anybody but its
    /// owner may change, is refused; one that its group may read is warned about.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Key`], both naming the path.
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let key_pair = Self::load_or_generate_with(path, &HostFiles)?;
        check_permissions(path)?;
        Ok(key_pair)
    }

    /// As [`load_or_generate`](Self::load_or_generate) on another disk, such as
    /// [`Runtime::files`](p2p_core::Runtime::files). It does not look at permissions.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Key`], both naming the path.
    pub fn load_or_generate_with(path: &Path, files: &dyn FileSystem) -> Result<Self> {
        if let Some(key_pair) = load(path, files)? {
            return Ok(key_pair);
        }
        let key_pair = Self::generate(&KeyPairType::Ed25519);
        let mut pem = key_pair.to_pkcs8_pem().into_bytes();
        let created = files.create_private(path, &pem);
        wipe(&mut pem);
        match created {
            Ok(()) => Ok(key_pair),
            // Somebody else was quicker, and theirs is the key now.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                load(path, files)?.ok_or_else(|| failed("read", path, error))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::io(
                format!(
                    "there is no key file {}, and its folder does not exist; to make a new identity there, create the \
                     folder first",
                    path.display()
                ),
                error,
            )),
            Err(error) => Err(failed("create", path, error)),
        }
    }
}

/// The key of a file; `None` where there is no file.
fn load(path: &Path, files: &dyn FileSystem) -> Result<Option<KeyPair>> {
    let invalid = |source| KeyError::File { path: path.into(), source: Box::new(source) };
    let mut content = match files.read(path, MAX_PEM_LEN as u64) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            return Err(invalid(TOO_LONG).into());
        }
        Err(error) => return Err(failed("read", path, error)),
    };
    let key_pair = match std::str::from_utf8(&content) {
        Ok(pem) => KeyPair::from_pkcs8_pem(pem),
        Err(_) => Err(KeyError::Pem("it is not text").into()),
    };
    wipe(&mut content);
    match key_pair {
        Ok(key_pair) => Ok(Some(key_pair)),
        Err(Error::Key(error)) => Err(invalid(error).into()),
        Err(error) => Err(error),
    }
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot {what} the key file {}", path.display()), error)
}

#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = std::fs::metadata(path).map_err(|error| failed("inspect", path, error))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o026 != 0 {
        return Err(KeyError::Exposed { path: path.into(), mode }.into());
    }
    if mode & 0o040 != 0 {
        tracing::warn!(
            path = %path.display(), mode = format_args!("{mode:03o}"),
            "the key file's group may read it, and whoever can is this node: `chmod 600` it unless that is meant",
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Path) -> Result<()> {
    Ok(())
}
