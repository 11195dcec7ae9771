//! What is read of a packet: how long it is, and which way it goes.

/// Bytes of each packet that are enough for it.
pub const LOOKED_AT: u32 = 64;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The length of an IPv4 packet, and whether it goes up: from the smaller address to the larger one; with equal addresses, from the
/// larger port. `None` for anything else.
pub fn read(packet: &[u8]) -> Option<(usize, bool)> {
    let header = packet.first_chunk::<20>()?;
    if header[0] >> 4 != 4 {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let (source, target) = (&header[12..16], &header[16..20]);
    let up = match source.cmp(target) {
        std::cmp::Ordering::Equal => {
            let ports = packet.get(usize::from(header[0] & 15) * 4..).and_then(<[u8]>::first_chunk::<4>);
            ports.is_some_and(|ports| [TCP, UDP].contains(&header[9]) && ports[..2] > ports[2..])
        }
        order => order.is_lt(),
    };
    Some((len, up))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: [u8; 4], target: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0x05, 0xdc, 0, 0, 0, 0, 64, UDP, 0, 0];
        packet.extend(source.into_iter().chain(target));
        packet.extend(ports.into_iter().flat_map(u16::to_be_bytes));
        packet
    }

    #[test]
    fn addresses_say_which_way_it_goes() {
        let (near, far) = ([127, 0, 0, 1], [127, 0, 0, 2]);
        assert_eq!(read(&packet(near, far, [1, 2])), Some((1500, true)));
        assert_eq!(read(&packet(far, near, [2, 1])), Some((1500, false)));
        assert_eq!(read(&packet(near, near, [40_000, 80])), Some((1500, true)));
        assert_eq!(read(&packet(near, near, [80, 40_000])), Some((1500, false)));
        assert_eq!(read(&[0x60; 40]), None);
        assert_eq!(read(&[0x45; 19]), None);
    }
}
