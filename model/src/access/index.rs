//! Which rules can be about a request at all, by the app, by who asks and where from: found without a look at the others.
//!
//! It is made when the rules are published. A rule that is not found is surely about something else; one that is found is still held
//! against the request.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{policy::People, ruleset::Rule};
use crate::{
    name::{AppId, UserId},
    user::{User, UserGroup},
};

/// Ranges of addresses of all rules together that are searched: some hundred KiB. What rules beyond name is not looked at here.
const RANGES_MAX: usize = 8_192;
/// Rules of one word.
const WORD_BITS: usize = 64;

/// Rules by their places in a set, a bit for each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Marks(Box<[u64]>);

impl Marks {
    fn none(rules: usize) -> Self {
        Self(vec![0; rules.div_ceil(WORD_BITS)].into())
    }

    fn of(rules: &[Rule], holds: impl Fn(&Rule) -> bool) -> Self {
        let mut marks = Self::none(rules.len());
        for (place, rule) in rules.iter().enumerate() {
            if holds(rule) {
                marks.toggle(place);
            }
        }
        marks
    }

    fn toggle(&mut self, place: usize) {
        self.0[place / WORD_BITS] ^= 1 << (place % WORD_BITS);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The places, in order.
    pub(super) fn places(&self) -> Found<'_> {
        Found {
            all_of: [&self.0, &self.0],
            people: Cow::Borrowed(&self.0),
            word: 0,
            left: 0,
        }
    }
}

/// Places of the rules that are in each of several marks.
#[derive(Debug)]
pub(super) struct Found<'i> {
    all_of: [&'i [u64]; 2],
    people: Cow<'i, [u64]>,
    /// The next to be looked at.
    word: usize,
    /// What is left of the one before.
    left: u64,
}

impl Iterator for Found<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            let [one, other] = self.all_of;
            let people = self.people.get(self.word)?;
            self.left = one.get(self.word)? & other.get(self.word)? & people;
            self.word += 1;
        }
        let bit = self.left.trailing_zeros();
        self.left &= self.left - 1;
        Some((self.word - 1) * WORD_BITS + bit as usize)
    }
}

/// All rules of a set.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Those that may be about an app that no rule names.
    everywhere: Marks,
    /// The same for each app that some rule names.
    named: HashMap<AppId, Marks>,
    /// Those of which names and groups do not tell whether they are about somebody.
    anyone: Marks,
    /// The others that name a user,
    users: HashMap<UserId, Marks>,
    /// or a group.
    groups: HashMap<UserGroup, Marks>,
    v4: Regions,
    v6: Regions,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let which = rules.iter().map(|rule| &rule.policy().which);
        let named = which.flat_map(|which| which.apps.iter().chain(&which.exclude_apps));
        let named: HashSet<_> = named.collect();
        let about = |app: &AppId| Marks::of(rules, |rule| rule.policy().which.holds_app(app));
        let named = named.into_iter().map(|app| (app.clone(), about(app)));
        let mut index = Self {
            everywhere: Marks::of(rules, |rule| rule.policy().which.all_apps),
            named: named.collect(),
            anyone: Marks::of(rules, |rule| !goes_by_names(people(rule))),
            ..Self::default()
        };
        for (place, rule) in rules.iter().enumerate() {
            let people = people(rule);
            if goes_by_names(people) {
                let none = || Marks::none(rules.len());
                for user in &people.users {
                    let marks = index.users.entry(user.clone()).or_insert_with(none);
                    marks.toggle(place);
                }
                for group in &people.groups {
                    let marks = index.groups.entry(group.clone()).or_insert_with(none);
                    marks.toggle(place);
                }
            }
        }
        index.find_regions(rules);
        index
    }

    fn find_regions(&mut self, rules: &[Rule]) {
        let mut anywhere = Marks::none(rules.len());
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (place, rule) in rules.iter().enumerate() {
            let area = rule.include().filter(|area| area.is_of_networks());
            let count = v4.len() + v6.len();
            match area.filter(|area| count + area.ranges() <= RANGES_MAX) {
                Some(area) => {
                    v4.extend(area.v4().map(|range| (range, place)));
                    v6.extend(area.v6().map(|range| (range, place)));
                }
                None => anywhere.toggle(place),
            }
        }
        self.v4 = Regions::new(&v4, anywhere.clone());
        self.v6 = Regions::new(&v6, anywhere);
    }

    /// The rules that may be about the app.
    pub(super) fn about(&self, app: &AppId) -> &Marks {
        self.named.get(app).unwrap_or(&self.everywhere)
    }

    /// The rules that may be about what a user asks of an app from an address.
    pub(super) fn find(&self, app: &AppId, user: &User, address: IpAddr) -> Found<'_> {
        let here = match address {
            IpAddr::V4(address) => self.v4.at(address.to_bits().into()),
            IpAddr::V6(address) => self.v6.at(address.to_bits()),
        };
        Found {
            all_of: [&self.about(app).0, here],
            people: self.people(user),
            word: 0,
            left: 0,
        }
    }

    fn people(&self, user: &User) -> Cow<'_, [u64]> {
        let mut people = Cow::Borrowed(&*self.anyone.0);
        let named = self.users.get(&user.id);
        // Of most fabrics no rule names a group, and nobody's are looked for then.
        let groups = user.groups.iter().take_while(|_| !self.groups.is_empty());
        for marks in named
            .into_iter()
            .chain(groups.filter_map(|group| self.groups.get(group)))
        {
            for (all, more) in people.to_mut().iter_mut().zip(&marks.0) {
                *all |= more;
            }
        }
        people
    }
}

fn people(rule: &Rule) -> &People {
    &rule.policy().who.include
}

/// Whether names and groups tell of everybody whether they are among them.
fn goes_by_names(people: &People) -> bool {
    !people.everyone && people.claims.is_empty() && people.providers.is_empty()
}

/// The space of addresses, cut where a rule begins or ceases to be about them.
#[derive(Debug, Default)]
struct Regions {
    /// Where each begins; the first at 0.
    starts: Box<[u128]>,
    /// The rules of each, one after the other.
    marks: Box<[u64]>,
    /// Of one of them.
    words: usize,
}

impl Regions {
    /// Of ranges, each with the place of its rule, of which those of one rule do not overlap; and rules that are about all addresses.
    fn new(ranges: &[((u128, u128), usize)], anywhere: Marks) -> Self {
        let mut cuts = vec![];
        for ((first, last), place) in ranges {
            cuts.push((*first, *place));
            cuts.extend(last.checked_add(1).map(|next| (next, *place)));
        }
        cuts.sort_unstable();
        let words = anywhere.0.len();
        let mut here = anywhere;
        let (mut starts, mut marks) = (vec![0], here.0.to_vec());
        for (at, place) in cuts {
            here.toggle(place);
            if starts.last() == Some(&at) {
                marks.truncate(marks.len() - words);
            } else {
                starts.push(at);
            }
            marks.extend_from_slice(&here.0);
        }
        Self {
            starts: starts.into(),
            marks: marks.into(),
            words,
        }
    }

    fn at(&self, address: u128) -> &[u64] {
        let behind = self.starts.partition_point(|start| *start <= address);
        let region = behind.saturating_sub(1) * self.words;
        self.marks
            .get(region..region + self.words)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_cut_where_ranges_begin_and_end() {
        let mut anywhere = Marks::none(70);
        anywhere.toggle(69);
        let ranges = [
            ((0, 9), 0),
            ((5, 20), 1),
            ((10, 10), 0),
            ((11, u128::MAX), 0),
        ];
        let regions = Regions::new(&ranges, anywhere.clone());
        for (address, want) in [
            (0, vec![0, 69]),
            (4, vec![0, 69]),
            (5, vec![0, 1, 69]),
            (10, vec![0, 1, 69]),
            (20, vec![0, 1, 69]),
            (21, vec![0, 69]),
            (u128::MAX, vec![0, 69]),
        ] {
            let marks = Marks(regions.at(address).into());
            assert_eq!(marks.places().collect::<Vec<_>>(), want, "{address}");
        }
        let none = Regions::new(&[], anywhere.clone());
        assert_eq!(none.at(7), &*anywhere.0);
        assert!(Regions::default().at(7).is_empty());
    }
}
