//! What holds for caches of any size.

use llorch_fixtures::{bits, of_cases};
use llorch_kv_cache::{Error, KvCache};
use llorch_numerics::{Dim, ShapeError};
use ndarray::{Array4, s};
use proptest::prelude::*;

/// B, H, D and how many positions each call brings. Panels are 32 wide, so sizes lie on both sides of 32.
#[derive(Clone, Debug)]
struct Plan {
    batch: usize,
    heads: usize,
    dim: usize,
    calls: Vec<usize>,
}

impl Plan {
    fn positions(&self) -> usize {
        self.calls.iter().sum()
    }

    fn shape(&self, tokens: usize) -> [usize; 4] {
        [self.batch, tokens, self.heads, self.dim]
    }

    fn cache(&self, spare: usize) -> KvCache {
        let capacity = self.positions() + spare;
        KvCache::new(self.batch, capacity, self.heads, self.dim).expect("a small cache")
    }

    /// No two elements alike, and none of them zero as padding is.
    fn numbered(&self, tokens: usize, first: f32) -> Array4<f32> {
        let mut next = first;
        Array4::from_shape_simple_fn(self.shape(tokens), || {
            next += 1.0;
            next
        })
    }

    /// Appends `k` and its negative, call by call.
    fn append(&self, cache: &mut KvCache, k: &Array4<f32>) -> Result<(), TestCaseError> {
        let mut start = cache.len();
        let mut from = 0;
        for &tokens in &self.calls {
            let new = k.slice(s![.., from..from + tokens, .., ..]);
            prop_assert_eq!(cache.append(new, (-&new).view()), Ok(start));
            start += tokens;
            from += tokens;
            prop_assert_eq!(cache.len(), start);
            prop_assert!(!cache.is_empty());
        }
        Ok(())
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let calls = prop::collection::vec(1..24_usize, 1..6);
    (1..4_usize, 1..4_usize, 1..70_usize, calls).prop_map(|(batch, heads, dim, calls)| Plan {
        batch,
        heads,
        dim,
        calls,
    })
}

fn holds(cache: &KvCache, k: &Array4<f32>) -> Result<(), TestCaseError> {
    for (found, expected) in [(cache.keys(), k.clone()), (cache.values(), -k)] {
        prop_assert_eq!(found.shape(), expected.shape());
        prop_assert!(found.is_standard_layout());
        prop_assert_eq!(bits(&found), bits(&expected));
    }
    Ok(())
}

proptest! {
    #![proptest_config(of_cases(48))]

    #[test]
    fn what_is_appended_in_any_chunks_is_read(plan in plan(), spare in 0..40_usize) {
        let mut cache = plan.cache(spare);
        prop_assert!(cache.is_empty());
        let k = plan.numbered(plan.positions(), 0.0);
        plan.append(&mut cache, &k)?;
        prop_assert_eq!(cache.capacity(), plan.positions() + spare);
        holds(&cache, &k)?;
    }

    #[test]
    fn truncated_and_filled_again_it_equals_a_fresh_one(
        plan in plan(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut cache = plan.cache(0);
        plan.append(&mut cache, &plan.numbered(plan.positions(), 1e6))?;
        let k = plan.numbered(plan.positions(), 0.0);
        cache.truncate(0);
        prop_assert!(cache.is_empty());
        plan.append(&mut cache, &k)?;
        holds(&cache, &k)?;

        let keep = keep.index(plan.positions() + 1);
        cache.truncate(keep);
        holds(&cache, &k.slice(s![.., ..keep, .., ..]).to_owned())?;
        cache.truncate(keep + 1);
        prop_assert_eq!(cache.len(), keep, "truncating cannot bring positions back");
    }

    #[test]
    fn past_its_end_is_an_error_that_leaves_it_unchanged(
        plan in plan(),
        spare in 0..8_usize,
        beyond in 1..8_usize,
    ) {
        let mut cache = plan.cache(spare);
        let k = plan.numbered(plan.positions(), 0.0);
        plan.append(&mut cache, &k)?;
        let new = plan.numbered(spare + beyond, 1e6);
        let full = Error::Full {
            capacity: plan.positions() + spare,
            stored: plan.positions(),
            new: spare + beyond,
        };
        prop_assert_eq!(cache.append(new.view(), new.view()), Err(full));
        holds(&cache, &k)?;
        if spare > 0 {
            let fits = new.slice(s![.., ..spare, .., ..]);
            prop_assert_eq!(cache.append(fits, fits), Ok(plan.positions()));
        }
    }

    /// One size of keys or values is wrong: none, one too few, one too many.
    #[test]
    fn a_wrong_size_is_refused_by_name(
        plan in plan(),
        axis in 0..4_usize,
        wrong in 0..3_usize,
        of_values in any::<bool>(),
    ) {
        let right = plan.shape(3);
        let mut shape = right;
        shape[axis] = [0, right[axis] - 1, right[axis] + 1][wrong];
        // Any number of positions is right for the keys: they say how many there must be of the values.
        prop_assume!(of_values || axis != 1 || shape[1] == 0);
        let (good, bad) = (Array4::<f32>::zeros(right), Array4::<f32>::zeros(shape));
        let (k, v) = if of_values { (&good, &bad) } else { (&bad, &good) };
        let tokens = if of_values { Dim::Is(3) } else { Dim::Any("T") };
        let expected = ShapeError {
            what: if of_values { "v" } else { "k" },
            expected: vec![Dim::Is(plan.batch), tokens, Dim::Is(plan.heads), Dim::Is(plan.dim)],
            found: shape.to_vec(),
        };

        let mut cache = plan.cache(10);
        let held = plan.numbered(plan.positions(), 0.0);
        plan.append(&mut cache, &held)?;
        prop_assert_eq!(cache.append(k.view(), v.view()), Err(Error::Shape(expected)));
        holds(&cache, &held)?;
    }
}

#[test]
fn a_cache_with_a_size_of_zero_is_refused_by_name() {
    for axis in 0..4 {
        let mut shape = [2, 8, 3, 4];
        shape[axis] = 0;
        let [batch, capacity, heads, dim] = shape;
        let error = KvCache::new(batch, capacity, heads, dim).expect_err("an empty cache");
        let message = format!("store: expected shape [B, capacity, H, D], found {shape:?}");
        assert_eq!(error.to_string(), message);
    }
}

/// The first two overflow a count of elements or of bytes; the last is beyond what any processor can address.
#[test]
fn a_cache_that_cannot_fit_into_memory_is_refused_and_does_not_abort() {
    for shape in [
        [2, usize::MAX, 2, 64],
        [1, usize::MAX / 64, 1, 64],
        [1, 1 << 48, 12, 64],
    ] {
        let [batch, capacity, heads, dim] = shape;
        let found = KvCache::new(batch, capacity, heads, dim).map(|cache| cache.capacity());
        assert_eq!(found, Err(Error::TooLarge { shape }));
    }
}

#[test]
fn errors_say_what_was_expected_and_what_was_found() {
    let errors = [
        Error::Full {
            capacity: 8,
            stored: 5,
            new: 4,
        },
        Error::TooLarge {
            shape: [1, 2, 3, 4],
        },
    ];
    let messages = [
        "expected at most 8 positions, found 5 stored and 4 new",
        "expected a store that fits into memory, found [1, 2, 3, 4] ([B, capacity, H, D])",
    ];
    assert_eq!(errors.map(|error| error.to_string()), messages);
}
