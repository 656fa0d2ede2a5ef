//! Networks that count as one source, and those that this service may send requests to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The source that an address belongs to: an IPv4 address itself, or the first 64 bits of an IPv6 address. A client
/// with one IPv6 address has all those that share these bits (RFC 4291 §2.5.4), and would otherwise be any number of
/// sources. An IPv4 address mapped into IPv6 is that IPv4 address.
#[must_use]
pub fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address @ IpAddr::V4(_) => address,
    }
}

/// The networks of IPv4 that are not the internet (the IANA's registry of special-purpose addresses), and multicast.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];
/// The only network of IPv6 with addresses of the internet.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);
/// The parts of it that are none: protocol assignments, documentation, 6to4.
const SPECIAL_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0], 23),
    v6([0x2001, 0x0db8], 32),
    v6([0x2002, 0], 16),
    v6([0x3fff, 0], 20),
];
/// Networks in which clouds answer with the credentials of a machine: link-local ones, and addresses of Alibaba, Oracle,
/// Amazon, Microsoft and Google.
const NEVER: [IpNet; 7] = [
    IpNet::V4(v4([168, 63, 129, 16], 32)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
    )),
    IpNet::V4(v4([169, 254, 0, 0], 16)),
    IpNet::V4(v4([100, 100, 100, 200], 32)),
    IpNet::V4(v4([192, 0, 0, 192], 32)),
    IpNet::V6(v6([0xfe80, 0], 10)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
    )),
];
/// Networks of IPv6 whose addresses hold one of IPv4: NAT64 at the end, 6to4 after the first two bytes.
const NAT64: Ipv6Net = v6([0x64, 0xff9b], 96);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0], 16);

const fn v4(address: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(begin: [u16; 2], length: u8) -> Ipv6Net {
    let [a, b] = begin;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), length)
}

/// The networks that this service may send requests to: the internet, and those that the operator allows.
#[derive(Debug, Clone, Default)]
pub struct OutgoingNetworks(Vec<IpNet>);

/// The reason not to send a request to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// Nobody can allow it.
    #[error(
        "{0} is link-local or an address at which a cloud answers with credentials, so it is never asked"
    )]
    Never(IpAddr),
    /// It is private, reserved, or this machine itself.
    #[error("{0} is not an address of the internet, and --outgoing-networks does not hold it")]
    Private(IpAddr),
}

impl OutgoingNetworks {
    /// The internet and these networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self(allowed)
    }

    /// Refuses an address that is never asked, and one outside of the internet that the operator does not allow.
    pub fn admit(&self, address: IpAddr) -> Result<(), NoRequest> {
        let address = address.to_canonical();
        let inner = embedded(address);
        let is_never = |address: IpAddr| NEVER.iter().any(|network| network.contains(&address));
        if is_never(address) || inner.is_some_and(is_never) {
            return Err(NoRequest::Never(address));
        }
        if is_of_the_internet(address) || self.0.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        Err(NoRequest::Private(address))
    }
}

fn is_of_the_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            let special = SPECIAL_V6.iter().any(|network| network.contains(&address));
            GLOBAL_V6.contains(&address) && !special
        }
    }
}

/// The address of IPv4 that a translator reads from one of IPv6.
fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    // The bits that follow the inner address.
    let after = if NAT64.contains(&address) {
        0
    } else if SIX_TO_FOUR.contains(&address) {
        80
    } else {
        return None;
    };
    let inner = u32::try_from((address.to_bits() >> after) & u128::from(u32::MAX)).ok()?;
    Some(Ipv4Addr::from_bits(inner).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_the_internet_and_to_allowed_networks() {
        let asks = |allowed: &[&str], address: &str| {
            let allowed = allowed.iter().map(|network| network.parse().unwrap());
            OutgoingNetworks::new(allowed.collect()).admit(address.parse().unwrap())
        };
        for public in [
            "1.1.1.1",
            "140.82.121.4",
            "2606:4700::1111",
            "2a01:4f8::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(asks(&[], public), Ok(()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::101:101",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:101:101::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fec0::1",
            "ff02::1",
        ] {
            let address = special.parse::<IpAddr>().unwrap().to_canonical();
            assert_eq!(
                asks(&[], special),
                Err(NoRequest::Private(address)),
                "{special}"
            );
            assert_eq!(asks(&["0.0.0.0/0", "::/0"], special), Ok(()), "{special}");
        }
        assert_eq!(asks(&["10.1.0.0/16"], "10.1.2.3"), Ok(()));
        assert!(asks(&["10.1.0.0/16"], "10.2.2.3").is_err());
    }

    #[test]
    fn nobody_allows_requests_for_the_credentials_of_a_machine() {
        let all =
            OutgoingNetworks::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        for never in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            let refused = all.admit(never.parse().unwrap());
            assert!(matches!(refused, Err(NoRequest::Never(_))), "{never}");
        }
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let same = |one: &str, other: &str| {
            network(one.parse().unwrap()) == network(other.parse().unwrap())
        };
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
