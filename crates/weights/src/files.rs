//! From a path to mapped files and the tensors in them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Component, Path},
};

use sha2::{Digest, Sha256};

use crate::{
    Error, header,
    json::Pairs,
    layout::{is_mask_buffer, without_prefix},
    map::Mapped,
    weights::{Entry, Weights},
};

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
const PICKLES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

pub(crate) fn open(path: &Path) -> Result<Weights, Error> {
    if path.is_dir() {
        return open_folder(path);
    }
    let ends = |suffix: &str| path.as_os_str().to_string_lossy().ends_with(suffix);
    if !path.is_file() {
        return Err(Error::NotFound { path: path.into() });
    }
    if [".bin", ".bin.index.json", ".pt", ".pth", ".ckpt"]
        .into_iter()
        .any(ends)
    {
        return Err(Error::Pickle { path: path.into() });
    }
    match ends(".safetensors.index.json") {
        true => open_shards(path),
        false => collect(vec![Mapped::open(path)?]),
    }
}

fn open_folder(dir: &Path) -> Result<Weights, Error> {
    let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
    if single.is_file() {
        return collect(vec![Mapped::open(&single)?]);
    }
    if index.is_file() {
        return open_shards(&index);
    }
    match PICKLES
        .map(|name| dir.join(name))
        .into_iter()
        .find(|path| path.is_file())
    {
        Some(path) => Err(Error::Pickle { path }),
        None => Err(Error::NoWeights { dir: dir.into() }),
    }
}

/// All tensors of `files`, under their names without prefix.
fn collect(files: Vec<Mapped>) -> Result<Weights, Error> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut ignored = Vec::new();
    for (at, file) in files.iter().enumerate() {
        for entry in header::entries(file, at)? {
            let name = without_prefix(&entry.key).to_string();
            if is_mask_buffer(&name) {
                ignored.push(entry.key);
                continue;
            }
            let second = origin(&entry, &files);
            if let Some(first) = entries.insert(name.clone(), entry) {
                return Err(Error::DuplicateTensor {
                    name,
                    first: origin(&first, &files),
                    second,
                });
            }
        }
    }
    ignored.sort();
    Ok(Weights {
        files,
        entries,
        ignored,
    })
}

fn origin(entry: &Entry, files: &[Mapped]) -> String {
    format!("{} in {}", entry.key, files[entry.file].path.display())
}

/// The files that an index names, which must hold exactly the tensors that it lists.
fn open_shards(index: &Path) -> Result<Weights, Error> {
    let listed = weight_map(index)?;
    let mut names: Vec<&String> = listed.values().collect();
    names.sort();
    names.dedup();
    let mut files = Vec::new();
    for name in names {
        if !is_plain(name) {
            return Err(Error::ShardName {
                path: index.into(),
                file: name.clone(),
            });
        }
        let path = index.with_file_name(name);
        match path.is_file() {
            true => files.push(Mapped::open(&path)?),
            false => return Err(Error::NotFound { path }),
        }
    }
    agree(index, &listed, &files)?;
    collect(files)
}

/// Whether `name` stays in its folder.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let first = parts.next();
    parts.next().is_none() && first == Some(Component::Normal(name.as_ref()))
}

/// Key to file name.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>, Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: Pairs<String>,
    }
    let text = std::fs::read_to_string(index).map_err(|source| Error::Read {
        path: index.into(),
        source,
    })?;
    let Index { weight_map } = serde_json::from_str(&text).map_err(|source| Error::Index {
        path: index.into(),
        source,
    })?;
    match weight_map.duplicate() {
        None => Ok(weight_map.0.into_iter().collect()),
        Some(key) => Err(Error::DuplicateKey {
            path: index.into(),
            key: key.to_string(),
        }),
    }
}

fn agree(index: &Path, listed: &BTreeMap<String, String>, files: &[Mapped]) -> Result<(), Error> {
    let mut found = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        // `open_shards` made the path from this name.
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        for entry in header::entries(file, at)? {
            found.insert(entry.key, name.to_string());
        }
    }
    let none = || "no file".to_string();
    for key in listed.keys().chain(found.keys()) {
        if listed.get(key) != found.get(key) {
            return Err(Error::Shards {
                path: index.into(),
                key: key.clone(),
                expected: listed.get(key).cloned().unwrap_or_else(none),
                found: found.get(key).cloned().unwrap_or_else(none),
            });
        }
    }
    Ok(())
}

pub(crate) fn sha256(files: &[Mapped]) -> String {
    let hex = |bytes: &[u8]| {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    };
    if let [file] = files {
        return hex(file.bytes());
    }
    // Several files are shards, whose paths `open_shards` made from their names.
    let line = |file: &Mapped| {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{}  {name}\n", hex(file.bytes()))
    };
    hex(files.iter().map(line).collect::<String>().as_bytes())
}
