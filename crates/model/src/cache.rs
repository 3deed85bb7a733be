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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Gpt2, tokens};

    fn bits(cache: &Cache) -> Vec<Vec<u32>> {
        let arrays = cache
            .layers()
            .iter()
            .flat_map(|layer| [layer.keys(), layer.values()]);
        arrays
            .map(|array| array.iter().map(|x| x.to_bits()).collect())
            .collect()
    }

    #[test]
    fn a_cache_counts_what_every_layer_of_the_model_holds() {
        let model = Gpt2::open(llorch_fixtures::tiny_path()).expect("the embedded model");
        let mut cache = model.cache(2, 9).expect("a cache");
        let assert_holds = |cache: &Cache, len| {
            let counts = (cache.len(), cache.capacity(), cache.is_empty());
            assert_eq!(counts, (len, 9, len == 0));
            assert_eq!(cache.layers().len(), model.config().n_layer());
            for layer in cache.layers() {
                assert_eq!((layer.len(), layer.capacity()), (len, 9));
            }
        };
        assert_holds(&cache, 0);
        let rows = tokens(&[&[5, 600, 71, 8], &[1, 2, 3, 4]]).expect("a batch");
        let logits = model.forward_last(rows.view(), &mut cache, &mut ());
        logits.expect("logits");
        assert_holds(&cache, 4);
        cache.truncate(1);
        assert_holds(&cache, 1);
        cache.truncate(0);
        assert_holds(&cache, 0);
    }

    /// No cache that the model makes fails in the middle: this one's third layer has no more room.
    #[test]
    fn a_failure_in_a_later_layer_leaves_the_earlier_ones_as_they_were() {
        let model = Gpt2::open(llorch_fixtures::tiny_path()).expect("the embedded model");
        let mut cache = model.cache(1, 9).expect("a cache");
        let prompt = tokens(&[&[5, 600, 71, 8]]).expect("a batch");
        let first = model.forward(prompt.view(), &mut cache, &mut ());
        first.expect("logits");
        let mut untouched = cache.clone();

        let roomy = &cache.layers[2];
        let mut full = KvCache::new(1, 6, 6, 24).expect("a cache");
        let appended = full.append(roomy.keys().view(), roomy.values().view());
        appended.expect("room for four");
        let roomy = std::mem::replace(&mut cache.layers[2], full);

        let next = tokens(&[&[1, 2, 3]]).expect("a batch");
        let error = model.forward(next.view(), &mut cache, &mut ());
        let error = error.expect_err("a full layer");
        assert!(
            matches!(error, Error::Cache(llorch_kv_cache::Error::Full { .. })),
            "{error}"
        );
        assert_eq!(bits(&cache), bits(&untouched));
        assert!(cache.layers().iter().all(|layer| layer.len() == 4));

        cache.layers[2] = roomy;
        let [after, without] = [&mut cache, &mut untouched].map(|cache| {
            let logits = model.forward(next.view(), cache, &mut ());
            logits.expect("logits").mapv(f32::to_bits)
        });
        assert_eq!(after, without);
    }
}
