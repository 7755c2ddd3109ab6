//! Maps whose keys are names that this process gave: nobody outside can choose keys that collide, so that a quick hash
//! does. What peers choose (Call-IDs, branches of theirs, addresses) stays with the hash of the standard library.

use std::collections::HashMap;

/// A map by names of our own giving.
pub(crate) type OwnMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
