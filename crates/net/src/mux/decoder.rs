//! Cuts what a socket delivers into frames.

use bytes::{Buf, BufMut, BytesMut};

use super::buffers;
use super::core::{Core, Delivery};
use super::frame::{HEADER_LEN, Header, Kind, Violation};

/// Payloads of which at least this much is still to come get a buffer of their own, and the socket is read into it;
/// of smaller ones, what has arrived is copied to the stream at once.
const OWN_BUFFER_MIN: u32 = 16 << 10;

/// Where in a frame the input stands.
#[derive(Debug)]
pub(super) struct Decoder {
    header: [u8; HEADER_LEN],
    have: usize,
    body: Body,
    /// The payload of the last data frame if that had a buffer of its own: the next one may be as long. 0 if it had none.
    large: u32,
}

#[derive(Debug)]
enum Body {
    /// The header is not complete.
    Header,
    /// The socket is being read into a buffer for a whole frame as large as the one before, with room for the next header
    /// behind it. It lives for one read: an idle connection holds none.
    Ahead(BytesMut),
    Control {
        header: Header,
        payload: Vec<u8>,
    },
    Data {
        header: Header,
        left: u32,
        delivery: Delivery,
    },
    /// A payload with a buffer of its own, which has room for the next header behind it.
    Owned {
        header: Header,
        bytes: BytesMut,
    },
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { header: [0; HEADER_LEN], have: 0, body: Body::Header, large: 0 }
    }

    /// The buffer that the socket is to be read into, and the most to read; `None` when [`decode`](Self::decode) wants
    /// the bytes. After a read say [`on_target`](Self::on_target) or, if nothing was there, [`not_read`](Self::not_read).
    pub(super) fn target(&mut self) -> Option<bytes::buf::Limit<&mut BytesMut>> {
        if matches!(self.body, Body::Header) && self.have == 0 && self.large > 0 {
            self.body = Body::Ahead(buffers::take(self.large as usize + 2 * HEADER_LEN));
        }
        match &mut self.body {
            Body::Owned { header, bytes } => {
                let limit = header.len as usize + HEADER_LEN - bytes.len();
                Some(bytes.limit(limit))
            }
            Body::Ahead(bytes) => Some(bytes.limit(self.large as usize + 2 * HEADER_LEN)),
            _ => None,
        }
    }

    /// Bytes of buffers that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        match &self.body {
            Body::Ahead(bytes) | Body::Owned { bytes, .. } => bytes.capacity(),
            _ => 0,
        }
    }

    /// Nothing was there to be read into [`target`](Self::target).
    pub(super) fn not_read(&mut self) {
        match std::mem::replace(&mut self.body, Body::Header) {
            Body::Ahead(bytes) => buffers::keep(bytes),
            body => self.body = body,
        }
    }

    /// Bytes were read into [`target`](Self::target).
    pub(super) fn on_target(&mut self, core: &mut Core) -> Result<(), Violation> {
        match std::mem::replace(&mut self.body, Body::Header) {
            Body::Ahead(bytes) => self.on_ahead(core, bytes),
            Body::Owned { header, bytes } => self.on_owned(core, header, bytes),
            body => {
                self.body = body;
                Ok(())
            }
        }
    }

    /// A read that began where a header begins.
    fn on_ahead(&mut self, core: &mut Core, mut bytes: BytesMut) -> Result<(), Violation> {
        let Some(header) = bytes.first_chunk() else { return self.decode(core, &bytes) };
        let header = Header::decode(*header)?;
        // What is received counts with its buffer: one that is much larger would be a waste.
        let likely = (self.large / 2).max(OWN_BUFFER_MIN)..=self.large;
        if !header.is_data() || !likely.contains(&header.len) {
            return self.decode(core, &bytes);
        }
        bytes.advance(HEADER_LEN);
        match core.on_data_header(header)? {
            Delivery::Deliver => self.on_owned(core, header, bytes),
            delivery @ Delivery::Discard => {
                self.body = Body::Data { header, left: header.len, delivery };
                self.decode(core, &bytes)
            }
        }
    }

    /// More of a payload has come; all of it, and what follows, or not.
    fn on_owned(&mut self, core: &mut Core, header: Header, mut bytes: BytesMut) -> Result<(), Violation> {
        let len = header.len as usize;
        if bytes.len() < len {
            self.body = Body::Owned { header, bytes };
            return Ok(());
        }
        let buffer = bytes.capacity() + HEADER_LEN;
        let next = bytes.split_off(len);
        self.large = header.len;
        core.on_data_owned(header.stream, bytes.freeze(), buffer);
        if header.kind == Kind::DataFin {
            core.on_fin(header.stream);
        }
        let decoded = self.decode(core, &next);
        buffers::keep(next);
        decoded
    }

    /// Takes bytes and gives `core` the frames in them.
    pub(super) fn decode(&mut self, core: &mut Core, mut input: &[u8]) -> Result<(), Violation> {
        loop {
            match &mut self.body {
                Body::Header => {
                    let part = input.len().min(HEADER_LEN - self.have);
                    self.header[self.have..self.have + part].copy_from_slice(&input[..part]);
                    self.have += part;
                    input = &input[part..];
                    if self.have < HEADER_LEN {
                        return Ok(());
                    }
                    self.have = 0;
                    self.begin(core, Header::decode(self.header)?, input.len())?;
                }
                Body::Control { header, payload } => {
                    let part = input.len().min(header.len as usize - payload.len());
                    payload.extend_from_slice(&input[..part]);
                    input = &input[part..];
                    if payload.len() < header.len as usize {
                        return Ok(());
                    }
                    core.on_control(*header, payload)?;
                    self.body = Body::Header;
                }
                Body::Data { header, left, delivery } => {
                    let (part, rest) = input.split_at(input.len().min(*left as usize));
                    if *delivery == Delivery::Deliver && !part.is_empty() {
                        core.on_data(header.stream, part);
                    }
                    // `part` is at most `left` long.
                    *left -= part.len() as u32;
                    input = rest;
                    if *left > 0 {
                        return Ok(());
                    }
                    if header.kind == Kind::DataFin && *delivery == Delivery::Deliver {
                        core.on_fin(header.stream);
                    }
                    self.body = Body::Header;
                }
                Body::Owned { header, bytes } => {
                    let part = input.len().min(header.len as usize - bytes.len());
                    bytes.put_slice(&input[..part]);
                    input = &input[part..];
                    if bytes.len() < header.len as usize {
                        return Ok(());
                    }
                    self.on_target(core)?;
                }
                Body::Ahead(_) => self.body = Body::Header,
            }
            if core.end().is_some() {
                // Nothing counts after the remote's CLOSE.
                return Ok(());
            }
        }
    }

    /// Decides what becomes of the payload of a frame, of which `present` bytes (or more than all) have arrived.
    fn begin(&mut self, core: &mut Core, header: Header, present: usize) -> Result<(), Violation> {
        if !header.is_data() {
            self.body = Body::Control { header, payload: Vec::new() };
            return Ok(());
        }
        let delivery = core.on_data_header(header)?;
        self.large = if header.len >= OWN_BUFFER_MIN { header.len } else { 0 };
        self.body = if delivery == Delivery::Deliver && self.large as usize > present {
            Body::Owned { header, bytes: buffers::take(header.len as usize + HEADER_LEN) }
        } else {
            Body::Data { header, left: header.len, delivery }
        };
        Ok(())
    }
}
