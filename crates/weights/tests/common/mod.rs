//! Small model files, written byte by byte so that they can also be wrong.
#![allow(dead_code)] // Each test program uses some of it.

use std::path::Path;

use llorch_weights::Config;
use tempfile::TempDir;

/// C = 4, H = 2, I = 6, L = 1, P = 3, V = 5: no two the same.
pub const CONFIG: &str = r#"{"n_embd": 4, "n_head": 2, "n_inner": 6, "n_layer": 1,
    "n_positions": 3, "vocab_size": 5}"#;

pub fn config() -> Config {
    Config::from_json(CONFIG).unwrap()
}

#[derive(Clone)]
pub struct Item {
    pub key: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A float32 tensor that counts from `first`.
pub fn item(key: &str, shape: &[usize], first: f32) -> Item {
    let values = (0..shape.iter().product()).map(|i: usize| first + i as f32);
    Item {
        key: key.to_string(),
        dtype: "F32",
        shape: shape.to_vec(),
        bytes: values.flat_map(f32::to_le_bytes).collect(),
    }
}

/// The whole model of [`CONFIG`].
pub fn model(prefix: &str) -> Vec<Item> {
    let shapes: [(&str, &[usize]); 16] = [
        ("wte.weight", &[5, 4]),
        ("wpe.weight", &[3, 4]),
        ("h.0.ln_1.weight", &[4]),
        ("h.0.ln_1.bias", &[4]),
        ("h.0.attn.c_attn.weight", &[4, 12]),
        ("h.0.attn.c_attn.bias", &[12]),
        ("h.0.attn.c_proj.weight", &[4, 4]),
        ("h.0.attn.c_proj.bias", &[4]),
        ("h.0.ln_2.weight", &[4]),
        ("h.0.ln_2.bias", &[4]),
        ("h.0.mlp.c_fc.weight", &[4, 6]),
        ("h.0.mlp.c_fc.bias", &[6]),
        ("h.0.mlp.c_proj.weight", &[6, 4]),
        ("h.0.mlp.c_proj.bias", &[4]),
        ("ln_f.weight", &[4]),
        ("ln_f.bias", &[4]),
    ];
    let item = |(i, (name, shape)): (usize, &(&str, &[usize]))| {
        item(&format!("{prefix}{name}"), shape, 100.0 * i as f32)
    };
    shapes.iter().enumerate().map(item).collect()
}

/// A safetensors file of any header and data.
pub fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// A safetensors file of these tensors; its header is padded to a multiple of 8, and by `shift` more.
pub fn shifted(items: &[Item], shift: usize) -> Vec<u8> {
    let mut data = Vec::new();
    let mut entries = Vec::new();
    for Item {
        key,
        dtype,
        shape,
        bytes,
    } in items
    {
        let start = data.len();
        data.extend(bytes);
        entries.push(format!(
            r#""{key}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{}]}}"#,
            data.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    let padded = header.len().next_multiple_of(8) + shift;
    raw(&format!("{header:padded$}"), &data)
}

pub fn file(items: &[Item]) -> Vec<u8> {
    shifted(items, 0)
}

pub fn folder<const N: usize>(files: [(&str, &[u8]); N]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        write(dir.path(), name, bytes);
    }
    dir
}

pub fn write(dir: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(dir.join(name), bytes).unwrap();
}

/// A folder with these tensors in model.safetensors.
pub fn folder_of(items: &[Item]) -> TempDir {
    folder([("model.safetensors", &file(items))])
}
