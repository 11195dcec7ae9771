//! Cuts what a socket delivers into frames.

use bytes::{BufMut, BytesMut};

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
}

#[derive(Debug)]
enum Body {
    /// The header is not complete.
    Header,
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
        Self { header: [0; HEADER_LEN], have: 0, body: Body::Header }
    }

    /// The buffer that the socket is to be read into, and the most to read; `None` when [`decode`](Self::decode) wants
    /// the bytes.
    pub(super) fn target(&mut self) -> Option<bytes::buf::Limit<&mut BytesMut>> {
        match &mut self.body {
            Body::Owned { header, bytes } => {
                let limit = header.len as usize + HEADER_LEN - bytes.len();
                Some(bytes.limit(limit))
            }
            _ => None,
        }
    }

    /// Bytes were read into [`target`](Self::target).
    pub(super) fn on_target(&mut self, core: &mut Core) -> Result<(), Violation> {
        let Body::Owned { header, bytes } = &mut self.body else { return Ok(()) };
        let (header, len) = (*header, header.len as usize);
        if bytes.len() < len {
            return Ok(());
        }
        let mut payload = std::mem::take(bytes);
        let next = payload.split_off(len);
        self.body = Body::Header;
        core.on_data_owned(header.stream, payload.freeze());
        if header.kind == Kind::DataFin {
            core.on_fin(header.stream);
        }
        self.decode(core, &next)
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
                    self.body = Self::begin(core, Header::decode(self.header)?, input.len())?;
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
            }
            if core.end().is_some() {
                // Nothing counts after the remote's CLOSE.
                return Ok(());
            }
        }
    }

    /// Decides what becomes of the payload of a frame, of which `present` bytes (or more than all) have arrived.
    fn begin(core: &mut Core, header: Header, present: usize) -> Result<Body, Violation> {
        if !matches!(header.kind, Kind::Data | Kind::DataFin) {
            return Ok(Body::Control { header, payload: Vec::new() });
        }
        let delivery = core.on_data_header(header)?;
        let missing = header.len.saturating_sub(u32::try_from(present).unwrap_or(u32::MAX));
        if delivery == Delivery::Deliver && missing >= OWN_BUFFER_MIN {
            let bytes = BytesMut::with_capacity(header.len as usize + HEADER_LEN);
            return Ok(Body::Owned { header, bytes });
        }
        Ok(Body::Data { header, left: header.len, delivery })
    }
}
