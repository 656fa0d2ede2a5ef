//! The source of a request: the peer of its connection, or the client that a trusted proxy names.
//!
//! Proxies append the peer that they see to `X-Forwarded-For`. So the list is read from its end, and only as far as its
//! entries come from trusted proxies: a client may have written the rest.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, X_FORWARDED_FOR};
use ipnet::IpNet;

use super::state::State;

/// The source address of a request.
pub(super) fn source(request: &HttpRequest) -> IpAddr {
    // The server closes connections whose peer is unknown, so there is always one.
    let Some(peer) = request.peer_addr() else {
        return IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    };
    let proxies = State::of(request).map(|state| state.origins.proxies.as_slice());
    behind(peer.ip(), request.headers(), proxies.unwrap_or_default())
}

/// The last address of the chain that is no trusted proxy, or the first one if all are.
pub(super) fn behind(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: IpAddr| {
        let address = address.to_canonical();
        proxies.iter().any(|network| network.contains(&address))
    };
    let mut nearest = peer;
    if !trusted(peer) {
        return nearest;
    }
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).collect();
    // Several header lines form one list (RFC 9110 §5.3).
    let entries = lines
        .into_iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    for entry in entries {
        // The entry is unreadable, so use the last trusted address.
        let Some(address) = address(entry) else { break };
        nearest = address;
        if !trusted(address) {
            break;
        }
    }
    nearest
}

/// Parses an address, which some proxies (Azure's) write with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?.trim();
    let with_port = || entry.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let plain = entry.parse().ok();
    plain
        .or_else(with_port)
        .or_else(bracketed)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn from(peer: &str, lines: &[&str], proxies: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        let proxies: Vec<IpNet> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        behind(peer.parse().unwrap(), &headers, &proxies).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let inner = ["10.0.0.0/8", "2001:db8:a::/48"];
        for (peer, lines, expected) in [
            // No proxy is trusted, or not this one.
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            // One proxy.
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("2001:db8:a::1", &["2001:db8:b::1"], "2001:db8:b::1"),
            // A list that the client wrote has no effect.
            ("10.0.0.1", &["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["127.0.0.1", "203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["10.0.0.7, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["ä, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["10.0.0.7, ä, 203.0.113.9"], "203.0.113.9"),
            // Two proxies, in one line or two.
            ("10.0.0.1", &["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            // All are proxies: the first.
            ("10.0.0.1", &["10.0.0.3,10.0.0.2"], "10.0.0.3"),
            // No entry, or an unreadable one.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9, _hidden, 10.0.0.2"], "10.0.0.2"),
            // With ports, in brackets, mapped.
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", &["[2001:db8:b::1]:4711"], "2001:db8:b::1"),
            ("10.0.0.1", &["[2001:db8:b::1]"], "2001:db8:b::1"),
            ("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ] {
            let found = from(peer, lines, if peer == "192.0.2.1" { &[] } else { &inner });
            assert_eq!(found, expected, "{peer} {lines:?}");
        }
        assert_eq!(from("192.0.2.1", &["203.0.113.9"], &inner), "192.0.2.1");
    }
}
