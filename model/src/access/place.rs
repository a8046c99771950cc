//! Where requests come from: networks, countries, and locations that are named once and used by many rules.

use std::net::IpAddr;

use ipnet::IpNet;

use super::facts::{Country, Facts};
use crate::name::LocationId;

/// Networks that a location, or one side of a rule, may name.
pub const NETWORKS_MAX: usize = 500;
/// Countries that a location, or one side of a rule, may name: there are fewer.
pub const COUNTRIES_MAX: usize = 300;
/// Locations that one side of a rule may name.
pub const RULE_LOCATIONS_MAX: usize = 50;
/// Named locations of a fabric.
pub const LOCATIONS_MAX: usize = 200;

/// A named location: whatever comes from any of its networks or countries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// At most [`NETWORKS_MAX`].
    pub networks: Vec<IpNet>,
    /// At most [`COUNTRIES_MAX`].
    pub countries: Vec<Country>,
    /// Addresses of which the country is not known.
    pub unknown_country: bool,
    /// Whether rules that speak of trusted locations mean this one too.
    pub trusted: bool,
}

/// One side of a rule's condition of place: what comes from any of these.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// At most [`NETWORKS_MAX`].
    pub networks: Vec<IpNet>,
    /// At most [`RULE_LOCATIONS_MAX`].
    pub locations: Vec<LocationId>,
    /// Every location that is trusted.
    pub trusted: bool,
    /// At most [`COUNTRIES_MAX`].
    pub countries: Vec<Country>,
    /// Addresses of which the country is not known.
    pub unknown_country: bool,
}

impl Places {
    /// Whether it names no place at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Networks and countries, to be searched.
#[derive(Debug, Default)]
pub(super) struct Area {
    /// Ranges that do not overlap, in order.
    v4: Box<[(u32, u32)]>,
    /// The same of IPv6.
    v6: Box<[(u128, u128)]>,
    countries: Box<[Country]>,
    unknown_country: bool,
    /// It names a location that is not known here.
    pub(super) is_incomplete: bool,
}

impl Area {
    pub(super) fn of(location: &Location) -> Self {
        Self::new(
            &location.networks,
            location.countries.clone(),
            location.unknown_country,
        )
    }

    /// That of one side of a rule. `find` gives the locations.
    pub(super) fn of_places<'l>(
        places: &Places,
        find: impl Fn(&LocationId) -> Option<&'l Location>,
        trusted: impl Iterator<Item = &'l Location>,
    ) -> Self {
        let mut all = Location {
            networks: places.networks.clone(),
            countries: places.countries.clone(),
            unknown_country: places.unknown_country,
            trusted: false,
        };
        let mut add = |location: &Location| {
            all.networks.extend_from_slice(&location.networks);
            all.countries.extend_from_slice(&location.countries);
            all.unknown_country |= location.unknown_country;
        };
        let mut is_incomplete = false;
        for id in &places.locations {
            match find(id) {
                Some(location) => add(location),
                None => is_incomplete = true,
            }
        }
        if places.trusted {
            trusted.for_each(&mut add);
        }
        Self {
            is_incomplete,
            ..Self::of(&all)
        }
    }

    fn new(networks: &[IpNet], mut countries: Vec<Country>, unknown_country: bool) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for network in networks {
            match network {
                IpNet::V4(network) => {
                    v4.push((network.network().to_bits(), network.broadcast().to_bits()));
                }
                IpNet::V6(network) => {
                    v6.push((network.network().to_bits(), network.broadcast().to_bits()));
                }
            }
        }
        countries.sort_unstable();
        countries.dedup();
        Self {
            v4: merged(v4),
            v6: merged(v6),
            countries: countries.into(),
            unknown_country,
            is_incomplete: false,
        }
    }

    pub(super) fn needs_country(&self) -> bool {
        self.unknown_country || !self.countries.is_empty()
    }

    /// Whether an address tells for sure that it is elsewhere.
    pub(super) fn is_of_networks(&self) -> bool {
        !self.is_incomplete && !self.needs_country()
    }

    /// How many ranges of addresses it has.
    pub(super) fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// First and last address of each range of IPv4.
    pub(super) fn v4(&self) -> impl Iterator<Item = (u128, u128)> {
        let ranges = self.v4.iter();
        ranges.map(|(first, last)| (u128::from(*first), u128::from(*last)))
    }

    /// The same of IPv6.
    pub(super) fn v6(&self) -> impl Iterator<Item = (u128, u128)> {
        self.v6.iter().copied()
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let is_within = match facts.address {
            IpAddr::V4(address) => lies_in(&self.v4, address.to_bits()),
            IpAddr::V6(address) => lies_in(&self.v6, address.to_bits()),
        };
        is_within
            || match facts.country {
                Some(country) => self.countries.binary_search(&country).is_ok(),
                None => self.unknown_country,
            }
    }
}

/// Ranges in order, those that overlap as one.
fn merged<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    let mut kept: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match kept.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => kept.push((first, last)),
        }
    }
    kept.into()
}

fn lies_in<N: Ord + Copy>(ranges: &[(N, N)], one: N) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= one);
    behind > 0 && one <= ranges[behind - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::tests::facts;

    #[test]
    fn networks_that_overlap_are_searched_as_one() {
        let networks = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"];
        let area = Area::of(&Location {
            networks: networks.map(|text| text.parse().unwrap()).into(),
            ..Location::default()
        });
        assert_eq!(area.v4.len(), 2);
        for (address, want) in [
            ("10.0.0.0", true),
            ("10.1.2.3", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::", false),
        ] {
            let facts = Facts {
                address: address.parse().unwrap(),
                ..facts()
            };
            assert_eq!(area.holds(&facts), want, "{address}");
        }
    }

    #[test]
    fn an_unknown_country_is_a_place_of_its_own() {
        let country = |code: &str| code.parse::<Country>().unwrap();
        let area = |countries: &[&str], unknown_country| {
            Area::of(&Location {
                countries: countries.iter().map(|code| country(code)).collect(),
                unknown_country,
                ..Location::default()
            })
        };
        let from = |code: Option<&str>| Facts {
            country: code.map(country),
            ..facts()
        };
        assert!(area(&["FR", "DE"], false).holds(&from(Some("DE"))));
        assert!(!area(&["FR", "DE"], true).holds(&from(Some("US"))));
        assert!(!area(&["DE"], false).holds(&from(None)));
        assert!(area(&["DE"], true).holds(&from(None)));
        assert!(!area(&[], false).needs_country());
    }
}
