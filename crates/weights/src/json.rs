//! JSON objects whose duplicate keys can be seen.
//!
//! serde_json's maps keep the last of two equal keys in silence; a file that says two things about
//! one tensor must be refused, so objects are read as the list of pairs that the text holds.

use std::{collections::HashSet, fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// The pairs of one JSON object, in the order of the text, duplicates kept.
pub(crate) struct Pairs<V>(pub Vec<(String, V)>);

impl<V> Pairs<V> {
    /// The first key that occurs a second time.
    pub fn duplicate(&self) -> Option<&str> {
        let mut seen = HashSet::new();
        let mut keys = self.0.iter().map(|(key, _)| key.as_str());
        keys.find(|key| !seen.insert(*key))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Collect<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}
