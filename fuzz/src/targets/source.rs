//! `X-Forwarded-For`: the first line is the peer, the others are headers. Nobody but a trusted proxy is believed, and
//! what a client writes before what a proxy adds changes nothing.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use wharfinger::http::fuzzing::source;

/// Checks one input.
pub fn run(text: &str) {
    let proxies: Vec<IpNet> = ["10.0.0.0/8", "2001:db8:a::/48"]
        .map(|network| network.parse().expect("a network"))
        .into();
    let trusted = |address: IpAddr| {
        let address = address.to_canonical();
        proxies.iter().any(|network| network.contains(&address))
    };
    let mut lines = text.split('\n');
    let Some(Ok(peer)) = lines.next().map(str::parse::<IpAddr>) else {
        return;
    };
    let lines: Vec<_> = lines.collect();
    let Some(found) = source(peer, &lines, &proxies) else {
        return;
    };
    assert_eq!(source(peer, &lines, &[]), Some(peer), "nobody is trusted");
    if !trusted(peer) {
        assert_eq!(found, peer, "a stranger is believed");
        return;
    }
    // From the near end: proxies, and then who is found.
    let joined = lines.join(",");
    let readable = joined.rsplit(',').map_while(read);
    let mut nearest = peer;
    for address in readable {
        nearest = address;
        if !trusted(address) {
            break;
        }
    }
    assert_eq!(found, nearest);
    if !trusted(found) {
        let mut more = vec!["127.0.0.1, 10.0.0.9, unknown"];
        more.extend(&lines);
        assert_eq!(source(peer, &more, &proxies), Some(found));
    }
}

/// An address, alone, in brackets or with a port.
fn read(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let inner = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match inner {
        Some(inner) => inner.parse().ok(),
        None => entry.parse().ok(),
    };
    let socket = || entry.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    address
        .or_else(socket)
        .map(|address| address.to_canonical())
}
