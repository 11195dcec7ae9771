//! NFQUEUE: the kernel hands packets over and waits for the verdict on each. Messages as in `linux/netfilter/nfnetlink_queue.h`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};

use crate::{Result, packet};

/// The number of the queue; each namespace has its own.
pub const NUMBER: u16 = 0;

/// Packets that the kernel keeps at most while they wait for their verdict.
const MOST_PACKETS: u32 = 400_000;

/// Room for packets that this program has not read yet.
const SOCKET_BUFFER: usize = 64 << 20;

/// Verdicts are sent together, up to so many bytes at once.
const BATCH: usize = 32 << 10;

/// NFNL_SUBSYS_QUEUE, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 3 << 8;
const MSG_PACKET: u16 = SUBSYSTEM;
const MSG_VERDICT: u16 = SUBSYSTEM | 1;
const MSG_CONFIG: u16 = SUBSYSTEM | 2;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

const CFG_CMD: u16 = 1;
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const CFG_MASK: u16 = 4;
const CFG_FLAGS: u16 = 5;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// Packets come as they are: neither segmented nor with checksums made for us.
const FLAG_GSO: u32 = 4;

const VERDICT_HDR: u16 = 2;
const PACKET_HDR: u16 = 1;
const PAYLOAD: u16 = 10;

/// Headers of netlink and of nfnetlink.
const HEADER: usize = 20;

/// What is to become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// The queue of the namespace that the thread is in which opens it.
pub struct Queue {
    socket: OwnedFd,
    verdicts: Vec<u8>,
}

impl Queue {
    /// # Errors
    /// When the kernel has no NFQUEUE, or this process may not use it.
    pub fn open() -> Result<Self> {
        let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter);
        let socket = socket(kind.0, kind.1, kind.2, kind.3).map_err(|error| format!("a netfilter socket: {error}"))?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER)?;
        setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER)?;
        let mut queue = Self { socket, verdicts: Vec::with_capacity(BATCH) };
        let mut params = packet::LOOKED_AT.to_be_bytes().to_vec();
        params.push(COPY_PACKET);
        queue.configure(&[(CFG_CMD, &[CMD_BIND, 0, 0, 0])])?;
        queue.configure(&[(CFG_PARAMS, &params)])?;
        queue.configure(&[(CFG_QUEUE_MAXLEN, &MOST_PACKETS.to_be_bytes())])?;
        let flag = FLAG_GSO.to_be_bytes();
        queue.configure(&[(CFG_FLAGS, &flag), (CFG_MASK, &flag)])?;
        Ok(queue)
    }

    fn configure(&mut self, attributes: &[(u16, &[u8])]) -> Result {
        let mut request = Vec::new();
        message(&mut request, MSG_CONFIG, NLM_F_REQUEST | NLM_F_ACK, attributes);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        // Nothing else comes before the answer: no packet is in the queue yet.
        let len = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        match Messages(&answer[..len]).find(|(kind, _)| *kind == NLMSG_ERROR) {
            Some((_, body)) if body.first_chunk::<4>().is_some_and(|code| i32::from_ne_bytes(*code) == 0) => Ok(()),
            Some((_, body)) => {
                let code = body.first_chunk::<4>().map_or(0, |code| -i32::from_ne_bytes(*code));
                Err(format!("NFQUEUE: {}", Errno::from_raw(code)).into())
            }
            None => Err("NFQUEUE: the kernel does not answer".into()),
        }
    }

    /// Takes packets that are there, at most `most` messages: each with its number and its first bytes.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn take(&self, most: usize, mut packet: impl FnMut(u32, &[u8])) -> Result {
        let mut buffer = [0; 8192];
        for _ in 0..most {
            let len = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(len) => len,
                Err(Errno::EAGAIN) => break,
                // Packets came faster than they were read; those are lost.
                Err(Errno::EINTR | Errno::ENOBUFS) => continue,
                Err(error) => return Err(format!("reading from NFQUEUE: {error}").into()),
            };
            for (_, body) in Messages(&buffer[..len]).filter(|(kind, _)| *kind == MSG_PACKET) {
                let (mut number, mut payload) = (None, &[][..]);
                for (kind, value) in Attributes(body.get(4..).unwrap_or_default()) {
                    match kind {
                        PACKET_HDR => number = value.first_chunk::<4>().map(|number| u32::from_be_bytes(*number)),
                        PAYLOAD => payload = value,
                        _ => {}
                    }
                }
                if let Some(number) = number {
                    packet(number, payload);
                }
            }
        }
        Ok(())
    }

    /// Decides over a packet; it leaves with the next [`Queue::send`] at the latest.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn decide(&mut self, number: u32, verdict: Verdict) -> Result {
        let mut value = (verdict as u32).to_be_bytes().to_vec();
        value.extend(number.to_be_bytes());
        message(&mut self.verdicts, MSG_VERDICT, NLM_F_REQUEST, &[(VERDICT_HDR, &value)]);
        if self.verdicts.len() >= BATCH { self.send() } else { Ok(()) }
    }

    /// Sends the verdicts that have been collected.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn send(&mut self) -> Result {
        while !self.verdicts.is_empty() {
            match send(self.socket.as_raw_fd(), &self.verdicts, MsgFlags::empty()) {
                Ok(_) => self.verdicts.clear(),
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => std::thread::yield_now(),
                Err(error) => return Err(format!("writing to NFQUEUE: {error}").into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// Appends a message for the queue.
fn message(to: &mut Vec<u8>, kind: u16, flags: u16, attributes: &[(u16, &[u8])]) {
    let start = to.len();
    let len: usize = HEADER + attributes.iter().map(|(_, value)| 4 + padded(value.len())).sum::<usize>();
    to.extend((len as u32).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(flags.to_ne_bytes());
    // Sequence number and port: not needed. Then the family (none), the version, and the number of the queue.
    to.extend([0; 10]);
    to.extend(NUMBER.to_be_bytes());
    for (kind, value) in attributes {
        to.extend((4 + value.len() as u16).to_ne_bytes());
        to.extend(kind.to_ne_bytes());
        to.extend(*value);
        to.resize(padded(to.len() - start) + start, 0);
    }
}

/// The type of each netlink message in a buffer, and what follows its header.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = u32::from_ne_bytes(*self.0.first_chunk::<4>()?) as usize;
        let message = self.0.get(..len).filter(|_| len >= 16)?;
        self.0 = self.0.get(padded(len)..).unwrap_or_default();
        Some((u16::from_ne_bytes([message[4], message[5]]), &message[16..]))
    }
}

/// The type and value of each attribute in a message.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        // The two upper bits are flags.
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(padded(len)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = Vec::new();
        message(&mut buffer, MSG_PACKET, 0, &[(PACKET_HDR, &[0, 0, 0, 9, 1]), (PAYLOAD, b"first")]);
        message(&mut buffer, MSG_PACKET, 0, &[(PAYLOAD, b"second")]);
        assert_eq!(buffer.len() % 4, 0);
        let read: Vec<_> = Messages(&buffer)
            .map(|(kind, body)| {
                (kind, Attributes(&body[4..]).map(|(kind, value)| (kind, value.to_vec())).collect::<Vec<_>>())
            })
            .collect();
        let first = vec![(PACKET_HDR, vec![0, 0, 0, 9, 1]), (PAYLOAD, b"first".to_vec())];
        assert_eq!(read, [(MSG_PACKET, first), (MSG_PACKET, vec![(PAYLOAD, b"second".to_vec())])]);
    }

    #[test]
    fn what_is_cut_short_ends_it() {
        let mut buffer = Vec::new();
        message(&mut buffer, MSG_PACKET, 0, &[(PAYLOAD, b"whole")]);
        assert_eq!(Messages(&buffer[..buffer.len() - 4]).count(), 0);
        assert_eq!(Messages(&[3, 0, 0, 0, 0, 0, 0, 0]).count(), 0, "no endless loop over a short length");
        assert_eq!(Attributes(&[0, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes(&[9, 0, 1, 0, 5]).count(), 0);
    }
}
