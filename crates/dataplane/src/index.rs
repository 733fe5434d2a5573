//! A table whose cost does not grow with what is in it. Its order can never show: it has no iterator.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

#[expect(clippy::disallowed_types, reason = "nothing here iterates, so the order never shows")]
type Map<K, V> = std::collections::HashMap<K, V, Key>;

/// From keys to small values, hashed under a key that outsiders do not know, so that they cannot make entries collide.
pub(crate) struct Index<K, V>(Map<K, V>);

/// The key of the hash.
#[derive(Clone, Copy)]
struct Key(u64);

impl BuildHasher for Key {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

impl<K: Hash + Eq, V: Copy> Index<K, V> {
    pub(crate) fn new(key: u64) -> Self {
        Self(Map::with_hasher(Key(key)))
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.0.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }
}

impl<K, V> fmt::Debug for Index<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({} entries)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_is_found_until_it_is_taken_out() {
        let mut index = Index::new(7);
        index.insert("a", 1);
        index.insert("b", 2);
        assert_eq!((index.get(&"a"), index.get(&"b"), index.get(&"c")), (Some(1), Some(2), None));
        index.remove(&"a");
        assert_eq!(index.get(&"a"), None);
        assert_eq!(format!("{index:?}"), "Index(1 entries)");
    }
}
