//! Allow lists: the first line is an address, the others are entries. A list is kept as it was sent, and admits the
//! address exactly if some entry has its first bits.

use std::net::IpAddr;

use wharfinger::domain::allow_list::AllowList;

/// Checks one input.
pub fn run(text: &str) {
    let mut lines = text.lines();
    let Some(Ok(address)) = lines.next().map(str::parse::<IpAddr>) else {
        return;
    };
    let entries: Vec<_> = lines.map(str::to_owned).collect();
    let Ok(list) = AllowList::of_token(entries.clone()) else {
        return;
    };
    assert_eq!(list.entries(), entries);
    assert!(entries.len() <= 25);
    let held = entries.iter().any(|entry| holds(entry, address));
    assert_eq!(list.admits(address), entries.is_empty() || held);
    let again = AllowList::of_registry(entries).expect("it was read before");
    assert_eq!(again, list);
}

/// An IPv4 address is its bits behind the 96 that `::ffff:0:0/96` has.
fn holds(entry: &str, address: IpAddr) -> bool {
    let (network, length) = match entry.split_once('/') {
        Some((network, length)) => (network, Some(length)),
        None => (entry, None),
    };
    let network: IpAddr = network.parse().expect("the list was read");
    let width: u32 = if network.is_ipv4() { 32 } else { 128 };
    let length: u32 = length.map_or(width, |length| length.parse().expect("the list was read"));
    assert!(length <= width);
    let length = length + 128 - width;
    let (network, mapped) = (bits(network), bits(address));
    let same = (0..length).all(|bit| (network ^ mapped) >> (127 - bit) & 1 == 0);
    // A network of IPv6 that is wider than all of IPv4 says nothing of IPv4.
    same && (length >= 96 || address.to_canonical().is_ipv6())
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
