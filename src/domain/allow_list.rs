//! Allow lists of addresses.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::text::quoted;
use crate::error::{Field, Result, Violations};

/// The most entries of a list.
const ENTRIES: usize = 25;

/// Addresses and networks as they were sent, in their order; an empty list is no restriction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowList(Vec<String>);

impl AllowList {
    /// Reads the list of a registry.
    pub fn of_registry(entries: Vec<String>) -> Result<Self> {
        Self::parse("apiSubnetAllowList", Field::ApiSubnetAllowList, entries)
    }

    /// Reads the list of a token.
    pub fn of_token(entries: Vec<String>) -> Result<Self> {
        Self::parse("allowedCidrs", Field::AllowedCidrs, entries)
    }

    /// Up to 25 addresses of either family, with or without a prefix length; host bits may be set.
    fn parse(member: &str, field: Field, entries: Vec<String>) -> Result<Self> {
        let mut violations = Violations::default();
        if entries.len() > ENTRIES {
            violations.push(
                field,
                format!(
                    "{member} has {} entries; at most {ENTRIES} are allowed",
                    entries.len()
                ),
            );
        }
        for entry in entries.iter().take(ENTRIES) {
            if network(entry).is_none() {
                violations.push(
                    field,
                    format!(
                        "{member}: {} is no address or network such as 10.1.0.0/16 or 2001:db8::/32",
                        quoted(entry)
                    ),
                );
            }
        }
        violations.finish(Some(Self(entries)))
    }

    /// The entries as they were sent.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.0
    }

    /// Returns true if the list admits an address. An IPv4 address within IPv6 (`::ffff:192.0.2.1`) is that IPv4
    /// address.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let mut networks = self.0.iter().filter_map(|entry| network(entry));
        self.0.is_empty() || networks.any(|network| network.contains(&address))
    }

    /// Returns true if another list admits every address that this list admits.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        if other.0.is_empty() {
            return true;
        }
        let known = |list: &Self| list.0.iter().filter_map(|entry| network(entry)).collect();
        let (own, others): (Vec<_>, Vec<_>) = (known(self), known(other));
        // Two halves of a network are the network.
        let others = IpNet::aggregate(&others);
        let held = |network: &IpNet| others.iter().any(|other| other.contains(network));
        !self.0.is_empty() && own.iter().all(held)
    }
}

fn network(entry: &str) -> Option<IpNet> {
    let network = match entry.split_once('/') {
        Some((address, length)) => {
            // The network parser would read 010.0.0.0/8, which others take for 8.0.0.0/8, and numbers have signs.
            let digits = length.bytes().all(|b| b.is_ascii_digit());
            let length = digits.then(|| length.parse().ok()).flatten()?;
            IpNet::new(address.parse().ok()?, length).ok()?
        }
        None => entry.parse::<IpAddr>().ok()?.into(),
    };
    if let IpNet::V6(wide) = network
        && let Some(length) = wide.prefix_len().checked_sub(96)
        && let Some(inner) = wide.addr().to_ipv4_mapped()
    {
        return Ipv4Net::new(inner, length).ok().map(IpNet::from);
    }
    Some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        AllowList::of_token(entries.iter().copied().map(str::to_owned).collect()).unwrap()
    }

    #[test]
    fn an_address_is_in_one_of_the_networks() {
        for (entries, address, admitted) in [
            (&[][..], "203.0.113.9", true),
            (&[], "2001:db8::1", true),
            (&["192.0.2.1"], "192.0.2.1", true),
            (&["192.0.2.1"], "192.0.2.2", false),
            (&["192.0.2.1"], "::ffff:192.0.2.1", true),
            (&["::ffff:192.0.2.1"], "192.0.2.1", true),
            (&["::ffff:192.0.2.0/120"], "192.0.2.77", true),
            (&["::ffff:192.0.2.0/120"], "192.0.3.77", false),
            (&["192.168.0.167/24"], "192.168.0.1", true),
            (&["192.168.0.167/24"], "192.168.1.167", false),
            (&["2001:db8::/32"], "2001:db8:ffff::1", true),
            (&["2001:db8::/32"], "2001:db9::1", false),
            (&["10.0.0.0/8", "2001:db8::1"], "2001:db8::1", true),
            (&["0.0.0.0/0"], "203.0.113.9", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["::/0"], "2001:db8::1", true),
            (&["::/0"], "203.0.113.9", false),
            (&["::/0"], "::ffff:203.0.113.9", false),
        ] {
            assert_eq!(
                list(entries).admits(address.parse().unwrap()),
                admitted,
                "{entries:?} {address}"
            );
        }
    }

    #[test]
    fn a_list_is_within_another_that_admits_all_it_admits() {
        for (entries, others, within) in [
            (&[][..], &[][..], true),
            (&["10.0.0.0/8"], &[], true),
            (&[], &["10.0.0.0/8"], false),
            (&[], &["0.0.0.0/0", "::/0"], false),
            (&["10.1.0.0/16"], &["10.0.0.0/8"], true),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], false),
            (&["10.1.2.3", "::1"], &["::1", "10.0.0.0/8"], true),
            (&["10.1.2.3", "::1"], &["10.0.0.0/8"], false),
            (&["10.0.0.77/8"], &["10.0.0.0/8"], true),
            (&["::ffff:10.1.0.0/112"], &["10.0.0.0/8"], true),
            (&["::ffff:10.1.0.0/112"], &["::/0"], false),
            (&["10.0.0.0/8"], &["10.0.0.0/9", "10.128.0.0/9"], true),
            (&["10.0.0.0/8"], &["10.0.0.0/9", "10.129.0.0/16"], false),
        ] {
            let (list, other) = (list(entries), list(others));
            assert_eq!(list.is_within(&other), within, "{entries:?} {others:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_lets_nobody_in() {
        // As another release could leave it.
        let odd = AllowList(vec!["everywhere".to_owned()]);
        assert!(!odd.admits([192, 0, 2, 1].into()));
    }

    #[test]
    fn entries_are_kept_verbatim() {
        let sent: Vec<String> = ["192.168.0.167/24", "2001:0db8:85a3::/24", "10.0.0.1", "::1"]
            .map(str::to_owned)
            .into();
        assert_eq!(
            AllowList::of_registry(sent.clone()).unwrap().entries(),
            sent
        );
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "::1/129",
            "example.com",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "010.0.0.0/8",
            "::ffff:010.0.0.0/104",
        ] {
            assert!(
                AllowList::of_registry(vec![wrong.to_owned()]).is_err(),
                "{wrong:?} was accepted"
            );
        }
        assert!(AllowList::of_registry(vec!["10.0.0.1".to_owned(); 26]).is_err());
    }

    #[test]
    fn a_list_has_a_few_networks() {
        let parse = |entries| AllowList::of_token(entries).map(|list| list.entries().len());
        let entry = "192.0.2.1".to_owned();
        assert_eq!(parse(vec![entry.clone(); ENTRIES]).unwrap(), ENTRIES);
        assert!(parse(vec![entry; ENTRIES + 1]).is_err());
        assert!(parse(vec!["here".to_owned()]).is_err());
    }
}
