//! Decoded postings of all blocks, kept up to a number of bytes.
//!
//! Two generations: what is asked for enters the young one; when that is full, it becomes the old one and the old one is
//! dropped. So what is used stays, and what is not goes, without a list to keep in order.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::metrics::BlockInstruments;
use crate::sync::Mutex;

/// Bytes that an entry takes beside its key and its bitmap.
const ENTRY_BYTES: usize = 96;

type Key = (u64, Box<str>);

/// The cache.
#[derive(Debug)]
pub(crate) struct PostingsCache {
    /// Of one generation.
    bytes_max: usize,
    generations: Mutex<Generations>,
    instruments: Arc<BlockInstruments>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Arc<RoaringBitmap>, RandomState>,
    old: HashMap<Key, Arc<RoaringBitmap>, RandomState>,
    young_bytes: usize,
}

impl PostingsCache {
    /// Keeps up to `bytes_max`.
    pub(crate) fn new(bytes_max: usize, instruments: Arc<BlockInstruments>) -> Self {
        Self { bytes_max: bytes_max / 2, generations: Mutex::default(), instruments }
    }

    /// The set of a block under `key`, if it is kept.
    pub(crate) fn find(&self, block: u64, key: &str) -> Option<Arc<RoaringBitmap>> {
        let mut generations = self.generations.lock();
        let key: Key = (block, key.into());
        let found = match generations.young.get(&key) {
            Some(found) => Some(Arc::clone(found)),
            None => {
                let found = generations.old.remove(&key);
                if let Some(found) = &found {
                    self.insert(&mut generations, key, Arc::clone(found));
                }
                found
            }
        };
        let count = if found.is_some() { &self.instruments.cache_hits } else { &self.instruments.cache_misses };
        count.add(1);
        found
    }

    /// Keeps a set.
    pub(crate) fn keep(&self, block: u64, key: &str, set: &Arc<RoaringBitmap>) {
        self.insert(&mut self.generations.lock(), (block, key.into()), Arc::clone(set));
    }

    fn insert(&self, generations: &mut Generations, key: Key, set: Arc<RoaringBitmap>) {
        let bytes = ENTRY_BYTES + key.1.len() + set.serialized_size();
        if bytes > self.bytes_max {
            return;
        }
        if generations.young_bytes + bytes > self.bytes_max {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        if generations.young.insert(key, set).is_none() {
            generations.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = PostingsCache::new(4000, Arc::default());
        let set: Arc<RoaringBitmap> = Arc::new((0..100).step_by(2).collect());
        cache.keep(1, "used", &set);
        for i in 0..100 {
            cache.keep(1, &format!("other{i}"), &set);
            assert!(cache.find(1, "used").is_some(), "{i}");
        }
        assert!(cache.find(1, "other0").is_none() && cache.find(2, "used").is_none());
        let generations = cache.generations.lock();
        assert!(generations.young.len() + generations.old.len() < 30);
    }
}
