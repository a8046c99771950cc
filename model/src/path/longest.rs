//! Of many prefixes the longest that holds a path, by one search.

use std::cmp::Ordering;

use super::holds;

/// Prefixes, each with what it stands for.
#[derive(Debug)]
pub(crate) struct Prefixes<T>(Vec<Held<T>>);

/// In the order of their segments, so that what is below a prefix follows it without a gap.
#[derive(Debug)]
struct Held<T> {
    prefix: Box<str>,
    /// Index of the longest prefix above this one.
    above: Option<usize>,
    value: T,
}

impl<T> Prefixes<T> {
    /// Of two that are the same the first counts.
    pub(crate) fn new<'a>(prefixes: impl IntoIterator<Item = (&'a str, T)>) -> Self {
        let held = prefixes.into_iter().map(|(prefix, value)| Held {
            prefix: prefix.into(),
            above: None,
            value,
        });
        let mut all: Vec<_> = held.collect();
        all.sort_by(|one, other| by_segment(bare(&one.prefix), bare(&other.prefix)));
        all.dedup_by(|later, first| later.prefix == first.prefix);
        for at in 1..all.len() {
            let mut above = Some(at - 1);
            while let Some(index) =
                above.filter(|index| !holds(&all[*index].prefix, &all[at].prefix))
            {
                above = all[index].above;
            }
            all[at].above = above;
        }
        Self(all)
    }

    /// What the longest prefix that holds `path` stands for.
    pub(crate) fn longest(&self, path: &str) -> Option<&T> {
        let behind = self
            .0
            .partition_point(|held| by_segment(bare(&held.prefix), path).is_le());
        // Whatever lies between the prefix that is sought and the path is below that prefix.
        let mut at = behind.checked_sub(1);
        while let Some(held) = at.map(|index| &self.0[index]) {
            if holds(&held.prefix, path) {
                return Some(&held.value);
            }
            at = held.above;
        }
        None
    }
}

/// The root holds whatever there is, and so comes before it.
fn bare(prefix: &str) -> &str {
    if prefix == "/" { "" } else { prefix }
}

/// Segment by segment.
fn by_segment(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one
        .iter()
        .zip(other)
        .position(|(one, other)| one != other)
        .unwrap_or_else(|| one.len().min(other.len()));
    // A segment that ends comes before one that goes on.
    let rank = |path: &[u8]| path.get(same).map(|byte| (*byte != b'/', *byte));
    rank(one).cmp(&rank(other))
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn check(prefixes: &[&str], path: &str, want: Option<&str>) {
        let found = Prefixes::new(prefixes.iter().map(|prefix| (*prefix, *prefix)));
        assert_eq!(found.longest(path).copied(), want, "{prefixes:?} {path}");
    }

    #[test]
    fn the_longest_that_holds_is_found() {
        let all = ["/a/b", "/", "/a-b", "/a", "/a/b/c/d", "/a.b/c"];
        for (path, want) in [
            ("/", "/"),
            ("/b", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/bc", "/a"),
            ("/a/b/c", "/a/b"),
            ("/a/b/c/d/e", "/a/b/c/d"),
            ("/a-b/c", "/a-b"),
            ("/a.b", "/"),
            ("/a.b/c", "/a.b/c"),
        ] {
            check(&all, path, Some(want));
        }
        check(&["/a"], "/", None);
        check(&["/a"], "/b", None);
        check(&[], "/", None);
    }

    #[test]
    fn the_first_of_two_alike_counts() {
        let found = Prefixes::new([("/a", 1), ("/", 2), ("/a", 3)]);
        assert_eq!(found.longest("/a/x"), Some(&1));
    }

    proptest! {
        #[test]
        fn a_search_finds_what_asking_each_finds(
            prefixes in collection::vec("/|(/[ab.~-]{1,2}){1,4}", 0..12),
            path in "(/[ab.~-]{0,3}){0,6}",
        ) {
            let each = prefixes.iter().filter(|prefix| holds(prefix, &path));
            let want = each.max_by_key(|prefix| prefix.len());
            let found = Prefixes::new(prefixes.iter().map(|prefix| (prefix.as_str(), prefix)));
            prop_assert_eq!(found.longest(&path).copied(), want);
        }
    }
}
