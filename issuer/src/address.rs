//! Which addresses an edge, or control, connects to when it asks a provider: what names resolve to is in the hands of whoever runs the
//! provider, and must not lead to what only the one who asks can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks of IPv4 that are no place of the Internet (IANA IPv4 Special-Purpose Address Registry), and how long their prefixes are.
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// What of 2000::/3, from which all of the Internet is, is none of it (IANA IPv6 Special-Purpose Address Registry).
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4: whatever is behind is not reached by a way of its own.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// IPv4 as hosts with IPv6 alone see it (RFC 6052, section 2.1).
const TRANSLATED: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether a provider may be at `ip`. With `private_network`, it may be inside, and on the own machine of whoever asks, control's too; never at an address that
/// is for one link only, where clouds serve machines their secrets, nor at one of many.
pub(crate) fn is_fitting(ip: IpAddr, private_network: bool) -> bool {
    let ip = ip.to_canonical();
    is_public(ip) || (private_network && is_inside(ip))
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !SPECIAL_V4.iter().any(|network| is_v4_in(ip, *network)),
        IpAddr::V6(ip) if is_v6_in(ip, TRANSLATED) => is_public(IpAddr::V4(last_32(ip))),
        IpAddr::V6(ip) => {
            let internet = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
            is_v6_in(ip, internet) && !SPECIAL_V6.iter().any(|network| is_v6_in(ip, *network))
        }
    }
}

/// Where clouds serve machines their secrets, beside the link-local addresses: Alibaba; Amazon; Google.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

fn is_inside(ip: IpAddr) -> bool {
    if METADATA.contains(&ip) {
        return false;
    }
    match ip {
        IpAddr::V4(ip) => {
            let shared = (Ipv4Addr::new(100, 64, 0, 0), 10);
            ip.is_private() || ip.is_loopback() || is_v4_in(ip, shared)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    }
}

fn is_v4_in(ip: Ipv4Addr, (network, length): (Ipv4Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length
}

fn is_v6_in(ip: Ipv6Addr, (network, length): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()).leading_zeros() >= length
}

fn last_32(ip: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = ip.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_operator_says_is_inside_is_asked_there() {
        // Whether it is fitting; whether it is if the provider may be inside.
        for (ip, public, inside) in [
            ("8.8.8.8", true, true),
            ("2606:4700::1111", true, true),
            ("64:ff9b::808:808", true, true),
            ("::ffff:8.8.8.8", true, true),
            ("10.0.0.1", false, true),
            ("172.31.255.255", false, true),
            ("192.168.1.1", false, true),
            ("100.64.0.1", false, true),
            ("127.0.0.1", false, true),
            ("::1", false, true),
            ("fd00::1", false, true),
            ("::ffff:10.0.0.1", false, true),
            // Clouds serve machines their secrets here.
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("64:ff9b::a00:1", false, false),
            ("100.100.100.200", false, false),
            ("fd00:ec2::254", false, false),
            ("fd20:ce::254", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("240.0.0.1", false, false),
            ("ff02::1", false, false),
            ("2001:db8::1", false, false),
            ("2002:a00:1::1", false, false),
            ("198.18.0.1", false, false),
        ] {
            let address = ip.parse().unwrap();
            assert_eq!(is_fitting(address, false), public, "{ip}");
            assert_eq!(is_fitting(address, true), inside, "{ip}");
        }
    }
}
