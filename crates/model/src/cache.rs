use llorch_kv_cache::KvCache;

/// The keys and values of every layer; all layers hold the same number of positions.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(crate) layers: Vec<KvCache>,
}

impl Cache {
    /// The positions held.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KvCache::len)
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The positions there is room for.
    pub fn capacity(&self) -> usize {
        self.layers.first().map_or(0, KvCache::capacity)
    }

    /// Forgets every position from `len` on, in every layer.
    pub fn truncate(&mut self, len: usize) {
        for layer in &mut self.layers {
            layer.truncate(len);
        }
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[KvCache] {
        &self.layers
    }
}
