//! Clients behind proxies: whose word is taken for the address that a request comes from.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::header::{FORWARDED, HeaderMap};

/// A network in CIDR form; a single address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be an address or a network such as 10.0.0.0/8 or fd00::/8".to_owned();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(|_| wrong()))?;
        if prefix > bits {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, bits: u8| {
            let shift = u32::from(bits.saturating_sub(self.prefix));
            one.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
        };
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(other)) => same(one.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// The proxies whose headers are believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(pub(crate) Vec<Network>);

impl Proxies {
    /// Whether this address is a trusted proxy.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        !self.0.is_empty() && self.0.iter().any(|network| network.contains(peer))
    }

    /// The client's address as the nearest trusted proxy saw it: the last address of the chain that is not a trusted
    /// proxy itself. What stands further left was written by somebody who is not trusted. `Forwarded` (RFC 7239) wins
    /// over `X-Forwarded-For`; an entry that is no address ends the search without an answer.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        if headers.contains_key(FORWARDED) {
            self.last_stranger(&entries(headers, FORWARDED.as_str()), forwarded_for)
        } else {
            self.last_stranger(&entries(headers, "x-forwarded-for"), address_of)
        }
    }

    fn last_stranger(&self, entries: &[&str], address: fn(&str) -> Option<IpAddr>) -> Option<IpAddr> {
        let mut last = None;
        for entry in entries.iter().rev() {
            let address = address(entry)?;
            last = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        last
    }
}

fn entries<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|entry| !entry.is_empty()).collect()
}

/// The `for` of one entry of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=http`.
fn forwarded_for(entry: &str) -> Option<IpAddr> {
    let pairs = entry.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (_, value) = named.next()?;
    address_of(value.trim().trim_matches('"'))
}

fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &str) -> Proxies {
        Proxies(list.split(',').map(|network| network.parse().unwrap()).collect())
    }

    fn client(proxies: &Proxies, name: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        proxies.client(&headers).map(|address| address.to_string())
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
            ("192.168.1.4/31", "192.168.1.5", "192.168.1.6"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?} {outside}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "proxy", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let proxies = proxies("10.0.0.0/8,fd00::/8");
        assert!(proxies.trusts("10.1.1.1".parse().unwrap()) && !proxies.trusts("1.1.1.1".parse().unwrap()));
        let via = |value| client(&proxies, "x-forwarded-for", value);
        assert_eq!(via("1.2.3.4").as_deref(), Some("1.2.3.4"));
        assert_eq!(
            via("6.6.6.6, 1.2.3.4, 10.0.0.2").as_deref(),
            Some("1.2.3.4"),
            "6.6.6.6 is the client's word"
        );
        assert_eq!(via("10.0.0.3, 10.0.0.2").as_deref(), Some("10.0.0.3"), "all of it is inside");
        assert_eq!(via("1.2.3.4:5678").as_deref(), Some("1.2.3.4"));
        assert_eq!(via("1.2.3.4, unknown"), None);
        assert_eq!(via(""), None);
        let via = |value| client(&proxies, "forwarded", value);
        assert_eq!(via("for=1.2.3.4;proto=http, for=10.0.0.2").as_deref(), Some("1.2.3.4"));
        assert_eq!(via("For=\"[2001:db8::1]:4711\"").as_deref(), Some("2001:db8::1"));
        assert_eq!(via("for=\"[2001:db8::1]\"").as_deref(), Some("2001:db8::1"));
        assert_eq!(via("by=1.2.3.4"), None);
        assert_eq!(via("for=_hidden"), None);
    }
}
