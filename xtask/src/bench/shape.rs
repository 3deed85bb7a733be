//! `--shape`: a model of random weights, as a folder like those that users have.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use safetensors::Dtype;
use safetensors::tensor::View;
use serde_json::json;
use tempfile::TempDir;

/// The sizes that GPT-2 was published in.
#[derive(Clone, Copy, ValueEnum)]
pub enum Shape {
    #[value(name = "gpt2")]
    Gpt2,
    #[value(name = "gpt2-medium")]
    Medium,
    #[value(name = "gpt2-large")]
    Large,
    #[value(name = "gpt2-xl")]
    Xl,
}

const POSITIONS: usize = 1024;
const VOCABULARY: usize = 50257;

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Shape::Gpt2 => "gpt2",
            Shape::Medium => "gpt2-medium",
            Shape::Large => "gpt2-large",
            Shape::Xl => "gpt2-xl",
        }
    }

    /// Layers, channels and heads.
    fn sizes(self) -> (usize, usize, usize) {
        match self {
            Shape::Gpt2 => (12, 768, 12),
            Shape::Medium => (24, 1024, 16),
            Shape::Large => (36, 1280, 20),
            Shape::Xl => (48, 1600, 25),
        }
    }

    /// Writes a model of this shape, the same one every time, into a folder that is removed with the value.
    pub fn make(self) -> Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("llorch-bench-").tempdir();
        let folder = folder.context("cannot make a folder for a random model")?;
        let (layers, channels, heads) = self.sizes();
        let config = json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "n_layer": layers,
            "n_embd": channels,
            "n_head": heads,
            "n_positions": POSITIONS,
            "vocab_size": VOCABULARY,
        });
        let config_path = folder.path().join("config.json");
        fs::write(&config_path, config.to_string()).context("cannot write a config.json")?;
        let weights = folder.path().join("model.safetensors");
        write(&weights, layers, channels)
            .with_context(|| format!("cannot write {}", weights.display()))?;
        Ok(folder)
    }
}

/// Writes the tensors one after the other, each made when it is written.
fn write(path: &Path, layers: usize, channels: usize) -> Result<()> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors(layers, channels), Some(metadata), path)?;
    // Or the system writes it while something is measured.
    Ok(File::open(path)?.sync_all()?)
}

fn tensors(layers: usize, channels: usize) -> Vec<(String, Normal)> {
    let mut list = Vec::new();
    let mut add = |name: String, shape: &[usize], mean: f32| {
        let normal = Normal {
            shape: shape.to_vec(),
            mean,
            seed: list.len() as u64 + 1,
        };
        list.push((format!("transformer.{name}"), normal));
    };
    add("wte.weight".to_owned(), &[VOCABULARY, channels], 0.0);
    add("wpe.weight".to_owned(), &[POSITIONS, channels], 0.0);
    for layer in 0..layers {
        for (name, input, output) in [
            ("attn.c_attn", channels, 3 * channels),
            ("attn.c_proj", channels, channels),
            ("mlp.c_fc", channels, 4 * channels),
            ("mlp.c_proj", 4 * channels, channels),
        ] {
            add(format!("h.{layer}.{name}.weight"), &[input, output], 0.0);
            add(format!("h.{layer}.{name}.bias"), &[output], 0.0);
        }
        for name in ["ln_1", "ln_2"] {
            add(format!("h.{layer}.{name}.weight"), &[channels], 1.0);
            add(format!("h.{layer}.{name}.bias"), &[channels], 0.0);
        }
    }
    add("ln_f.weight".to_owned(), &[channels], 1.0);
    add("ln_f.bias".to_owned(), &[channels], 0.0);
    list
}

/// Numbers around a mean with the standard deviation that GPT-2 is initialised with.
struct Normal {
    shape: Vec<usize>,
    mean: f32,
    seed: u64,
}

const DEVIATION: f32 = 0.02;

impl View for Normal {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        // A sum of four uniform numbers is as normal as it needs to be; 65536 / sqrt(3) is its deviation.
        let scale = DEVIATION / 37_837.227;
        let mut state = self.seed << 40;
        for number in bytes.as_chunks_mut::<4>().0 {
            let parts = split_mix(&mut state);
            let sum: u64 = (0..4).map(|i| parts >> (16 * i) & 0xffff).sum();
            *number = (self.mean + scale * (sum as f32 - 131_070.0)).to_le_bytes();
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_mean_and_deviation() {
        let normal = Normal {
            shape: vec![100, 1000],
            mean: 1.0,
            seed: 3,
        };
        let bytes = normal.data();
        let numbers = bytes.as_chunks::<4>().0.iter();
        let numbers: Vec<f64> = numbers.map(|x| f32::from_le_bytes(*x).into()).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let squares = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let deviation = (squares / 1e5).sqrt();
        // Five standard errors of a mean and of a deviation of that many.
        assert!((mean - 1.0).abs() < 5.0 * 0.02 / 1e5_f64.sqrt(), "{mean}");
        assert!(
            (deviation - 0.02).abs() < 5.0 * 0.02 / 2e5_f64.sqrt(),
            "{deviation}"
        );
        assert_eq!(normal.data(), bytes, "the same every time");
    }

    /// A folder that is too small to be slow, of the same making.
    #[test]
    fn the_tensors_are_gpt2s() {
        let mut names: Vec<_> = tensors(1, 4).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 2 + 12 + 2);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 16);
    }
}
