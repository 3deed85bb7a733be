//! Model folders made from the embedded model, with something changed.
#![allow(dead_code)] // Each test program uses some of it.

use std::collections::BTreeMap;
use std::fs;

use llorch_model::{Error, Gpt2, Probe};
use ndarray::{Array, Array2, Array3, ArrayBase, ArrayD, ArrayViewD, Data, Dimension, IxDyn};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::Value;
use tempfile::TempDir;

/// A config and tensors that can be changed before they are written.
#[derive(Clone)]
pub struct Folder {
    pub config: Value,
    pub tensors: BTreeMap<String, Stored>,
}

/// A tensor as a file holds it.
#[derive(Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Folder {
    /// The embedded model; its keys begin with `transformer.`.
    pub fn tiny() -> Folder {
        let dir = llorch_fixtures::tiny_path();
        let config = fs::read(dir.join("config.json")).expect("config.json");
        let file = fs::read(dir.join("model.safetensors")).expect("model.safetensors");
        let tensors = SafeTensors::deserialize(&file).expect("safetensors");
        let stored = |(name, view): (String, TensorView)| {
            let (dtype, shape) = (view.dtype(), view.shape().to_vec());
            let bytes = view.data().to_vec();
            (
                name,
                Stored {
                    dtype,
                    shape,
                    bytes,
                },
            )
        };
        Folder {
            config: serde_json::from_slice(&config).expect("JSON"),
            tensors: tensors.tensors().into_iter().map(stored).collect(),
        }
    }

    /// The same with a field of the config set.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Folder {
        self.config[field] = value.into();
        self
    }

    /// The float32 tensor whose key ends like this.
    pub fn get(&self, name: &str) -> ArrayD<f32> {
        let stored = &self.tensors[&self.key(name)];
        let (fours, _) = stored.bytes.as_chunks::<4>();
        let values = fours
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        Array::from_shape_vec(IxDyn(&stored.shape), values).expect("a float32 tensor")
    }

    /// Replaces it.
    pub fn set<S: Data<Elem = f32>, D: Dimension>(&mut self, name: &str, values: &ArrayBase<S, D>) {
        let key = self.key(name);
        self.add(&key, values);
    }

    /// Adds a float32 tensor under exactly this key.
    pub fn add<S: Data<Elem = f32>, D: Dimension>(&mut self, key: &str, values: &ArrayBase<S, D>) {
        let stored = Stored {
            dtype: Dtype::F32,
            shape: values.shape().to_vec(),
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.tensors.insert(key.to_owned(), stored);
    }

    pub fn remove(&mut self, name: &str) {
        let key = self.key(name);
        self.tensors.remove(&key);
    }

    fn key(&self, name: &str) -> String {
        let found = self.tensors.keys().find(|key| {
            let rest = key.strip_suffix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest == "transformer.")
        });
        found.unwrap_or_else(|| panic!("no tensor {name}")).clone()
    }

    /// Writes config.json and model.safetensors.
    pub fn write(&self) -> TempDir {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let views = self.tensors.iter().map(|(name, stored)| {
            let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.bytes);
            (name.as_str(), view.expect("a tensor of its shape"))
        });
        let file = serialize(views, None).expect("safetensors");
        fs::write(dir.path().join("model.safetensors"), file).expect("a written file");
        let config = self.config.to_string();
        fs::write(dir.path().join("config.json"), config).expect("a written file");
        dir
    }

    /// Writes the folder and opens it.
    pub fn open(&self) -> Result<Gpt2, Error> {
        Gpt2::open(self.write().path())
    }

    /// The model, which must open.
    pub fn model(&self) -> Gpt2 {
        self.open().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Tokens in two rows.
pub fn prompt() -> Array2<u32> {
    Array2::from_shape_fn((2, 9), |(b, t)| (37 + 311 * b + 53 * t) as u32 % 1001)
}

/// The logits of [`prompt`], [2, 9, V].
pub fn logits(model: &Gpt2) -> Array3<f32> {
    let mut cache = model.cache(2, 9).expect("a cache");
    let logits = model.forward(prompt().view(), &mut cache, &mut ());
    logits.expect("logits")
}

/// Every site of [`prompt`].
pub fn sites(model: &Gpt2) -> BTreeMap<String, ArrayD<f32>> {
    let mut sites = Sites(BTreeMap::new());
    let mut cache = model.cache(2, 9).expect("a cache");
    let logits = model.forward(prompt().view(), &mut cache, &mut sites);
    logits.expect("logits");
    sites.0
}

struct Sites(BTreeMap<String, ArrayD<f32>>);

impl Probe for Sites {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        self.0.insert(site.to_owned(), values.to_owned());
    }
}
