//! Checkpoint 3.

use anyhow::{Result, ensure};
use half::f16;
use ndarray::{Array4, ArrayView4, Axis, Slice};

use super::Bug;

/// The keys and values of one layer.
#[derive(Clone, Debug)]
pub struct Cache {
    /// [B, capacity, H, D].
    k: Array4<f32>,
    v: Array4<f32>,
    len: usize,
}

impl Cache {
    /// An empty cache for B rows of at most `capacity` positions.
    pub fn new(batch: usize, capacity: usize, heads: usize, dim: usize) -> Self {
        let empty = Array4::zeros((batch, capacity, heads, dim));
        Cache {
            k: empty.clone(),
            v: empty,
            len: 0,
        }
    }

    /// S, the positions it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts the keys and values of T new positions, [B, T, H, D] each, behind those that are there.
    pub fn append(
        &mut self,
        mut k: ArrayView4<f32>,
        mut v: ArrayView4<f32>,
        bug: Option<Bug>,
    ) -> Result<()> {
        if bug == Some(Bug::CacheBoundaryDropped) && self.len > 0 {
            k.slice_axis_inplace(Axis(1), Slice::from(1..));
            v.slice_axis_inplace(Axis(1), Slice::from(1..));
        }
        let (batch, new, heads, dim) = k.dim();
        let (rows, capacity, own_heads, own_dim) = self.k.dim();
        ensure!(
            (batch, heads, dim) == (rows, own_heads, own_dim)
                && v.dim() == k.dim()
                && self.len + new <= capacity,
            "expected at most {} positions of {:?}, found k {:?} and v {:?}",
            capacity - self.len,
            self.k.shape(),
            k.shape(),
            v.shape()
        );
        if bug == Some(Bug::CachePrepends) {
            let (old, moved) = (Slice::from(..self.len), Slice::from(new..self.len + new));
            for all in [&mut self.k, &mut self.v] {
                let held = all.slice_axis(Axis(1), old).to_owned();
                all.slice_axis_mut(Axis(1), moved).assign(&held);
            }
        }
        let start = match bug {
            Some(Bug::CacheStartTooLate) => self.len + 1,
            Some(Bug::CacheStartTooEarly) => self.len.saturating_sub(1),
            Some(Bug::CacheStartZero | Bug::CachePrepends) => 0,
            _ => self.len,
        };
        for ((b, t, h, d), &key) in k.indexed_iter() {
            let row = match bug {
                Some(Bug::CacheRowsMixed) => (b + 1) % batch,
                _ => b,
            };
            let place = [row, (start + t).min(capacity - 1), h, d];
            self.k[place] = stored(key, bug);
            self.v[place] = match bug {
                Some(Bug::CacheKeysForValues) => key,
                _ => stored(v[[b, t, h, d]], bug),
            };
        }
        self.len += new;
        Ok(())
    }

    /// Forgets every position from `len` on.
    pub fn truncate(&mut self, len: usize, bug: Option<Bug>) {
        if bug != Some(Bug::CacheKeptOverReset) {
            self.len = self.len.min(len);
        }
    }

    /// The keys, [B, S, H, D].
    pub fn keys(&self, bug: Option<Bug>) -> Array4<f32> {
        self.read(&self.k, bug)
    }

    /// The values, [B, S, H, D].
    pub fn values(&self, bug: Option<Bug>) -> Array4<f32> {
        self.read(&self.v, bug)
    }

    fn read(&self, all: &Array4<f32>, bug: Option<Bug>) -> Array4<f32> {
        let len = match bug {
            Some(Bug::CacheStaleTail) => all.dim().1,
            _ => self.len,
        };
        let held = all.slice_axis(Axis(1), Slice::from(..len));
        let held = match bug {
            Some(Bug::CacheHeadsFirst) => held.permuted_axes([0, 2, 1, 3]),
            _ => held,
        };
        held.as_standard_layout().into_owned()
    }
}

fn stored(x: f32, bug: Option<Bug>) -> f32 {
    match bug {
        Some(Bug::CacheHalf) => f16::from_f32(x).to_f32(),
        _ => x,
    }
}
