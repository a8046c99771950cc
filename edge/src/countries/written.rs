//! Writes files of countries for tests, in the MaxMind DB format 2.0, with records of 24 bits over a tree of IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What begins the description of a file.
const METADATA: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// When every such file was made, in seconds since 1970.
pub(crate) const BUILT: u64 = 1_700_000_000;

/// A text of up to 28 bytes: type 2 in the upper three bits.
fn text(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 29);
    out.push(0x40 | u8::try_from(text.len()).unwrap());
    out.extend_from_slice(text.as_bytes());
}

fn map(out: &mut Vec<u8>, entries: u8) {
    out.push(0xe0 | entries);
}

/// 16 (type 5) or 32 bits (type 6).
fn number(out: &mut Vec<u8>, kind: u8, number: u32) {
    let bytes = number.to_be_bytes();
    let bytes = &bytes[if kind == 5 { 2 } else { 0 }..];
    out.push(kind << 5 | u8::try_from(bytes.len()).unwrap());
    out.extend_from_slice(bytes);
}

/// The bits of a network. IPv4 is at ::/96.
fn bits((address, length): &(&str, u8)) -> Vec<bool> {
    let (bits, length) = match address.parse::<IpAddr>().unwrap() {
        IpAddr::V4(v4) => (u128::from(Ipv4Addr::to_bits(v4)), 96 + length),
        IpAddr::V6(v6) => (Ipv6Addr::to_bits(v6), *length),
    };
    (0..length).map(|at| bits >> (127 - at) & 1 == 1).collect()
}

/// What one side of a node leads to.
#[derive(Clone, Copy)]
enum Side {
    Nothing,
    Node(usize),
    /// Its place in the data.
    Data(usize),
}

/// A file in which networks that do not overlap are in countries. `key` is that of the code, in a map of its own or not.
pub(crate) fn file(key: &[&str], networks: &[((&str, u8), &str)]) -> Vec<u8> {
    let mut nodes = vec![[Side::Nothing; 2]];
    let mut data = Vec::new();
    for (network, code) in networks {
        let place = data.len();
        for part in key {
            map(&mut data, 1);
            text(&mut data, part);
        }
        text(&mut data, code);
        let bits = bits(network);
        let mut node = 0;
        for (at, bit) in bits.iter().enumerate() {
            let side = usize::from(*bit);
            if at + 1 == bits.len() {
                nodes[node][side] = Side::Data(place);
            } else if let Side::Node(next) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([Side::Nothing; 2]);
                nodes[node][side] = Side::Node(nodes.len() - 1);
                node = nodes.len() - 1;
            }
        }
    }
    let mut out = Vec::new();
    for side in nodes.iter().flatten() {
        let record = match side {
            Side::Nothing => nodes.len(),
            Side::Node(node) => *node,
            Side::Data(place) => nodes.len() + 16 + place,
        };
        out.extend_from_slice(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(METADATA);
    describe(&mut out, nodes.len());
    out
}

fn describe(out: &mut Vec<u8>, nodes: usize) {
    map(out, 9);
    for (key, kind, value) in [
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
        ("ip_version", 5, 6),
        ("record_size", 5, 24),
        ("node_count", 6, u32::try_from(nodes).unwrap()),
    ] {
        text(out, key);
        number(out, kind, value);
    }
    text(out, "build_epoch");
    // 64 bits are of an extended type: 7 + 2.
    out.extend_from_slice(&[8, 2]);
    out.extend_from_slice(&BUILT.to_be_bytes());
    text(out, "database_type");
    text(out, "Test-Country");
    text(out, "languages");
    // An empty list is of an extended type: 7 + 4.
    out.extend_from_slice(&[0, 4]);
    text(out, "description");
    map(out, 1);
    text(out, "en");
    text(out, "made by a test");
}
