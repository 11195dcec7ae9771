//! What is remembered on disk between runs: contacts, and how far the sequence number of the own record has come.
//!
//! Nothing in these files is trusted: each contact's signature is checked again, and it is in the table only once it
//! has answered. A file that is missing, or that somebody or something has damaged, is reported, used as far as it is
//! whole, and replaced at the next save.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use p2p_core::{Runtime, StateFile};
use p2p_identity::PeerRecord;
use p2p_identity::record::MAX_RECORD_LEN;

use crate::engine::MAX_REMEMBERED;

/// What the file of contacts begins with.
const CONTACTS_HEADER: &[u8] = b"p2p dht contacts 1\n";

/// What the file of the sequence number begins with.
const SEQ_HEADER: &str = "p2p dht sequence number 1\n";

/// Bytes before each record: its length, and the address from where it was told, as IPv6.
const ENTRY_HEAD: usize = 2 + 16;

/// The longest files that are read.
const MAX_CONTACTS_LEN: u64 = (CONTACTS_HEADER.len() + MAX_REMEMBERED * (ENTRY_HEAD + MAX_RECORD_LEN)) as u64;
const MAX_SEQ_LEN: u64 = SEQ_HEADER.len() as u64 + 21;

/// So many sequence numbers are saved before they are used: a record goes out at once, however long the disk takes, and
/// its number is not forgotten.
const SEQ_RESERVE: u64 = 64;

/// The two files. Writing them blocks nobody.
#[derive(Debug)]
pub(crate) struct StateFiles {
    runtime: Arc<dyn Runtime>,
    contacts: StateFile,
    seq: StateFile,
    /// The number that was saved last.
    reserved: Mutex<u64>,
}

impl StateFiles {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, folder: &Path) -> Self {
        Self {
            contacts: StateFile::new(runtime.clone(), folder.join("dht-contacts")),
            seq: StateFile::new(runtime.clone(), folder.join("dht-seq")),
            runtime,
            reserved: Mutex::new(0),
        }
    }

    /// The highest sequence number that was saved; `None` if there is none to be had. Blocks for as long as the disk
    /// takes.
    pub(crate) fn load_seq(&self) -> Option<u64> {
        let bytes = used(self.seq.path(), self.runtime.files().read(self.seq.path(), MAX_SEQ_LEN))?;
        let seq = parse_seq(&bytes);
        if seq.is_none() {
            tracing::warn!(
                path = %self.seq.path().display(),
                "the saved sequence number cannot be read, and is not used: older records of this node may count as newer \
                 than its own until it meets one of them",
            );
        }
        seq
    }

    /// A number is used, or soon may be: those above it are saved in time. What cannot be saved is reported.
    pub(crate) fn use_seq(&self, seq: u64) {
        // Valid whatever panicked.
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if seq.saturating_add(SEQ_RESERVE / 2) > *reserved {
            *reserved = seq.saturating_add(SEQ_RESERVE);
            self.seq.save(seq_to_text(*reserved).into_bytes());
        }
    }

    /// The contacts that were saved, as far as the file is whole, and from where each was told. Their signatures have
    /// not been checked.
    pub(crate) async fn load_contacts(&self) -> Vec<(PeerRecord, IpAddr)> {
        let path = self.contacts.path();
        let Some(bytes) = used(path, self.runtime.read_file(path, MAX_CONTACTS_LEN).await) else { return Vec::new() };
        let (contacts, damage) = parse(&bytes);
        if let Some(damage) = damage {
            let (path, used) = (path.display(), contacts.len());
            tracing::warn!(%path, used, damage, "the saved contacts are damaged, and used as far as they are whole");
        }
        contacts
    }

    /// Saves them. What cannot be saved is reported.
    pub(crate) fn save_contacts(&self, contacts: &[(PeerRecord, IpAddr)]) {
        self.contacts.save(to_bytes(contacts));
    }

    /// Waits until the disk has all that is to be saved. Cancel-safe.
    pub(crate) async fn saved(&self) {
        self.seq.saved().await;
        self.contacts.saved().await;
    }
}

fn used(path: &Path, read: std::io::Result<Vec<u8>>) -> Option<Vec<u8>> {
    match read {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                path = %path.display(), %error,
                "what was saved cannot be read, and is not used: make the file readable, or delete it",
            );
            None
        }
    }
}

fn seq_to_text(seq: u64) -> String {
    format!("{SEQ_HEADER}{seq}\n")
}

fn parse_seq(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?.strip_prefix(SEQ_HEADER)?;
    text.strip_suffix('\n')?.parse().ok()
}

fn to_bytes(contacts: &[(PeerRecord, IpAddr)]) -> Vec<u8> {
    let mut bytes = CONTACTS_HEADER.to_vec();
    for (record, reached) in contacts.iter().take(MAX_REMEMBERED) {
        let record = record.as_bytes();
        // A record has at most 2 KiB.
        bytes.extend((record.len() as u16).to_be_bytes());
        bytes.extend(match reached {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        });
        bytes.extend_from_slice(record);
    }
    bytes
}

/// The contacts that are whole, and what is wrong with the rest.
fn parse(bytes: &[u8]) -> (Vec<(PeerRecord, IpAddr)>, Option<&'static str>) {
    let mut contacts = Vec::new();
    let Some(mut rest) = bytes.strip_prefix(CONTACTS_HEADER) else { return (contacts, Some("another header")) };
    let mut damage = None;
    while !rest.is_empty() && contacts.len() < MAX_REMEMBERED {
        let Some((head, behind)) = rest.split_first_chunk::<ENTRY_HEAD>() else { return (contacts, Some("cut off")) };
        let [first, second, ip @ ..] = *head;
        let len = usize::from(u16::from_be_bytes([first, second]));
        let Some((record, behind)) = behind.split_at_checked(len) else { return (contacts, Some("cut off")) };
        rest = behind;
        match PeerRecord::decode(record) {
            Ok(record) => contacts.push((record, IpAddr::from(Ipv6Addr::from(ip)).to_canonical())),
            Err(_) => damage = Some("a record is malformed"),
        }
    }
    (contacts, damage)
}

/// What the fuzz target does with the files.
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing {
    use super::{IpAddr, PeerRecord};

    /// A file of contacts that was read, and written again.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Contacts {
        /// What was in it.
        pub contacts: Vec<(PeerRecord, IpAddr)>,
        /// Whether nothing in it was damaged.
        pub whole: bool,
        /// The file that they are saved in.
        pub written: Vec<u8>,
    }

    /// Reads a file of contacts, and writes what was in it.
    pub fn rewrite_contacts(bytes: &[u8]) -> Contacts {
        let (contacts, damage) = super::parse(bytes);
        Contacts { whole: damage.is_none(), written: super::to_bytes(&contacts), contacts }
    }

    /// The file that these contacts are saved in.
    pub fn write_contacts(contacts: &[(PeerRecord, IpAddr)]) -> Vec<u8> {
        super::to_bytes(contacts)
    }

    /// Reads the file of the sequence number.
    pub fn read_seq(bytes: &[u8]) -> Option<u64> {
        super::parse_seq(bytes)
    }

    /// The file of a sequence number.
    pub fn write_seq(seq: u64) -> String {
        super::seq_to_text(seq)
    }
}

#[cfg(test)]
mod tests {
    use p2p_identity::KeyPair;
    use p2p_net::Endpoint;
    use proptest::prelude::*;

    use super::*;

    fn contacts(count: u8) -> Vec<(PeerRecord, IpAddr)> {
        let contact = |n: u8| {
            let endpoint: Endpoint = format!("quic://9.9.9.{n}:1").parse().unwrap();
            let record = PeerRecord::builder().discovery_addr(endpoint).sign(&KeyPair::from_seed([n; 32]), 1).unwrap();
            let reached = if n.is_multiple_of(2) {
                IpAddr::from([9, 9, 9, n])
            } else {
                IpAddr::from([0x2600, 0, 0, 0, 0, 0, 0, 1])
            };
            (record, reached)
        };
        (1..=count).map(contact).collect()
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let saved = contacts(5);
        assert_eq!(parse(&to_bytes(&saved)), (saved, None));
        assert_eq!(parse(&to_bytes(&[])), (Vec::new(), None));
        assert_eq!(parse(b""), (Vec::new(), Some("another header")));
    }

    #[tokio::test]
    async fn numbers_are_saved_before_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = p2p_core::runtime::current().unwrap();
        let mut last = 10;
        for _life in 0..3 {
            let state = StateFiles::new(runtime.clone(), folder.path());
            let loaded = state.load_seq().unwrap_or(last);
            assert!(loaded >= last, "a number that others have seen is forgotten");
            state.use_seq(loaded);
            state.saved().await;
            for seq in loaded..loaded + 10 * SEQ_RESERVE {
                // What is on the disk when it is used, were the disk to stand still from now on.
                assert!(state.load_seq() > Some(seq), "{seq}");
                state.use_seq(seq);
                state.saved().await;
                last = seq;
            }
        }
    }

    #[test]
    fn one_damaged_record_costs_only_itself() {
        let saved = contacts(3);
        let mut bytes = to_bytes(&saved);
        // The format byte of the second record.
        let at = CONTACTS_HEADER.len() + 2 * ENTRY_HEAD + saved[0].0.as_bytes().len();
        bytes[at] ^= 0xff;
        let (loaded, damage) = parse(&bytes);
        assert_eq!((loaded, damage.is_some()), (vec![saved[0].clone(), saved[2].clone()], true));
    }

    proptest! {
        #[test]
        fn a_file_that_was_cut_off_is_used_as_far_as_it_goes(cut in 0usize..700) {
            let saved = contacts(4);
            let bytes = to_bytes(&saved);
            let (loaded, damage) = parse(&bytes[..cut.min(bytes.len())]);
            prop_assert!(saved.starts_with(&loaded));
            prop_assert!(damage.is_some() || to_bytes(&loaded).len() == cut.min(bytes.len()));
        }

        #[test]
        fn anything_can_be_in_the_file(noise in prop::collection::vec(any::<u8>(), 0..300), flip in 0usize..700) {
            parse(&noise);
            parse(&[CONTACTS_HEADER, &noise].concat());
            let mut bytes = to_bytes(&contacts(4));
            let at = flip % bytes.len();
            bytes[at] ^= 1;
            parse(&bytes);
        }
    }
}
