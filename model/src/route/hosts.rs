//! What is published under each name.
//!
//! A table of many hostnames is far larger than any cache, so a lookup takes as long as the reads that wait for one another. Here
//! it is one: a byte of each name's hash says where to look, and these bytes fit a cache; names of usual length lie beside what
//! they lead to, on one line of memory. As the names are known beforehand, no room is kept for growth.
//!
//! The table is cut into shards by the names' hashes. A table that follows on another shares with it all in which nothing changed.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use super::{Route, Site};
use crate::host::Hostname;

/// Longest name that fits a line beside its site; longer ones lie elsewhere.
const SHORT_BYTES_MAX: usize = 46;
/// Slots for every two names: a search that fails passes four others, on average, before it finds a free one.
const SLOTS_FOR_TWO: usize = 3;
/// Tag of a slot that is free.
const FREE: u8 = 0;

/// Into so many parts a table is cut: of 10,000 names some 150 lie in each, which are made anew in a few microseconds, and what all
/// shards need besides still fits a cache.
const SHARDS: usize = 64;

/// Sites by name. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    shards: Box<[Arc<Shard>]>,
    hashes: RandomState,
}

/// Sites whose names' hashes have some bits in common.
#[derive(Debug)]
struct Shard {
    /// Of each slot [`FREE`], or some bits of the name's hash.
    tags: Box<[u8]>,
    slots: Box<[Option<Published>]>,
}

/// Routes on their way to become a shard.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    /// With the first route of each name, which is the only one of nearly all.
    shard: Shard,
    hashes: &'a RandomState,
    /// Names under which paths matter.
    scoped: BTreeMap<Hostname, Vec<Route>>,
}

/// A name and what is published under it.
#[derive(Debug)]
#[repr(align(64))]
struct Published {
    name: Name,
    site: Site,
}

/// A hostname.
enum Name {
    Short(u8, [u8; SHORT_BYTES_MAX]),
    Long(Hostname),
}

/// Where a name is, or would be.
struct Place {
    tag: u8,
    slot: usize,
    is_taken: bool,
}

impl Hosts {
    pub(super) fn new() -> Self {
        let empty = Arc::new(Shard::new(0));
        Self {
            shards: vec![empty; SHARDS].into(),
            hashes: RandomState::new(),
        }
    }

    /// What is published under exactly this name.
    pub(super) fn get(&self, name: &str) -> Option<&Site> {
        let hash = self.hashes.hash_one(name);
        let shard = &self.shards[shard_of(hash)];
        let place = shard.place(hash, name);
        let published = shard.slots[place.slot].as_ref()?;
        Some(&published.site)
    }

    /// Which shard a name is in.
    pub(super) fn shard(&self, name: &Hostname) -> usize {
        shard_of(self.hashes.hash_one(name.as_str()))
    }

    /// What one shard will hold; it has room for so many names.
    pub(super) fn gather(&self, names: usize) -> Gathered<'_> {
        Gathered {
            shard: Shard::new(names),
            hashes: &self.hashes,
            scoped: BTreeMap::new(),
        }
    }

    /// Puts a shard in another's place.
    pub(super) fn replace(&mut self, shard: usize, by: Finished) {
        self.shards[shard] = Arc::new(by.0);
    }
}

/// Bits of a hash that choose neither slot nor tag.
fn shard_of(hash: u64) -> usize {
    let [.., bits, _] = hash.to_be_bytes();
    usize::from(bits) % SHARDS
}

impl Shard {
    fn new(names: usize) -> Self {
        // One is always free, where every search ends.
        let slots = names / 2 * SLOTS_FOR_TWO + SLOTS_FOR_TWO;
        Self {
            tags: vec![FREE; slots].into(),
            slots: (0..slots).map(|_| None).collect(),
        }
    }

    fn place(&self, hash: u64, name: &str) -> Place {
        // The upper bits choose the slot; the lowest say something else.
        let [.., lowest] = hash.to_be_bytes();
        let tag = lowest.max(FREE + 1);
        let mut slot = scale(hash, self.tags.len());
        loop {
            let held = self.tags[slot];
            if held == FREE || (held == tag && self.holds(slot, name)) {
                let is_taken = held != FREE;
                return Place {
                    tag,
                    slot,
                    is_taken,
                };
            }
            slot += 1;
            if slot == self.tags.len() {
                slot = 0;
            }
        }
    }

    fn holds(&self, slot: usize, name: &str) -> bool {
        let published = self.slots[slot].as_ref();
        published.is_some_and(|published| published.name.as_bytes() == name.as_bytes())
    }

    fn put(&mut self, place: &Place, published: Published) {
        self.tags[place.slot] = place.tag;
        self.slots[place.slot] = Some(published);
    }
}

/// Brings a hash to `0..slots`.
fn scale(hash: u64, slots: usize) -> usize {
    let scaled = (u128::from(hash) * slots as u128) >> u64::BITS;
    usize::try_from(scaled).unwrap_or_default()
}

/// A whole shard.
#[derive(Debug)]
pub(super) struct Finished(Shard);

impl Gathered<'_> {
    fn place(&self, name: &Hostname) -> Place {
        let name = name.as_str();
        self.shard.place(self.hashes.hash_one(name), name)
    }

    /// Adds a route; of two at one place the first counts.
    pub(super) fn add(&mut self, name: &Hostname, route: Route) {
        if let Some(routes) = self.scoped.get_mut(name) {
            routes.push(route);
            return;
        }
        let is_whole = route.path().as_str() == "/";
        let place = self.place(name);
        if !place.is_taken {
            if !is_whole {
                self.scoped.insert(name.clone(), vec![route.clone()]);
            }
            self.shard
                .put(&place, Published::new(name, Site::whole(route)));
            return;
        }
        let first = self.shard.slots[place.slot].as_ref();
        if let Some(first) = first.filter(|_| !is_whole) {
            let routes = first.site.routes().iter().cloned();
            self.scoped
                .insert(name.clone(), routes.chain([route]).collect());
        }
    }

    /// All that was added.
    pub(super) fn finish(mut self) -> Finished {
        for (name, routes) in std::mem::take(&mut self.scoped) {
            let place = self.place(&name);
            self.shard
                .put(&place, Published::new(&name, Site::scoped(routes)));
        }
        Finished(self.shard)
    }
}

impl Published {
    fn new(name: &Hostname, site: Site) -> Self {
        let name = Name::new(name);
        Self { name, site }
    }
}

impl Name {
    fn new(name: &Hostname) -> Self {
        let text = name.as_str().as_bytes();
        let mut bytes = [0; SHORT_BYTES_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text);
                Self::Short(length, bytes)
            }
            _ => Self::Long(name.clone()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(name) => name.as_str().as_bytes(),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, size_of};

    use super::*;

    #[test]
    fn a_name_and_its_site_are_one_line_of_a_cache() {
        assert_eq!(size_of::<Option<Published>>(), 64);
        assert_eq!(align_of::<Published>(), 64);
    }

    #[test]
    fn names_of_any_length_stay_what_they_are() {
        for length in [1, SHORT_BYTES_MAX, SHORT_BYTES_MAX + 1, 253] {
            let label = |at| {
                if at % 32 == 31 && at + 1 < length {
                    '.'
                } else {
                    'a'
                }
            };
            let text: String = (0..length).map(label).collect();
            let name: Hostname = text.parse().expect("a good host");
            assert_eq!(Name::new(&name).as_bytes(), text.as_bytes());
        }
    }
}
