//! Reading a dump: a folder of .npy, an .npz or a .safetensors, in any of the float types.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use llorch_parity::{StoredArray, read_arrays};
use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};

use super::precision::Precision;

/// The tensors of a dump under the names that its writer gave them.
pub struct Dump {
    pub tensors: BTreeMap<String, Foreign>,
}

/// One tensor as it was stored, its numbers widened to float64, which changes none.
#[derive(Clone)]
pub enum Foreign {
    Floats(Precision, ArrayD<f64>),
    Ids(ArrayD<i64>),
}

impl Dump {
    /// Reads what is at `path`.
    ///
    /// # Errors
    /// Where there is nothing to be read, or anything that is no array of numbers.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        ensure!(
            path.exists(),
            "{shown}: expected a folder of .npy, an .npz or a .safetensors, found nothing"
        );
        let extension = path.extension().unwrap_or_default();
        let named = if path.is_dir() {
            let mut named = Vec::new();
            read_folder(path, "", &mut named)?;
            ensure!(
                !named.is_empty(),
                "{shown}: expected .npy files, found none"
            );
            named
        } else if extension == "npz" {
            let arrays = read_arrays(&shown, &read(path)?)?;
            let each = arrays.into_iter();
            each.map(|(name, array)| Ok((name.clone(), of_numpy(&name, &array)?)))
                .collect::<Result<_>>()?
        } else if extension == "safetensors" {
            read_safetensors(&shown, &read(path)?)?
        } else {
            bail!("{shown}: expected a folder of .npy, an .npz or a .safetensors by its name");
        };
        let mut tensors = BTreeMap::new();
        for (name, tensor) in named {
            let twice = tensors.insert(name.clone(), tensor).is_some();
            ensure!(
                !twice,
                "{shown}: expected every name once, found {name} twice"
            );
        }
        Ok(Dump { tensors })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Every .npy below the folder, by its path from there: `0/embed.npy` is `0/embed`. Links are not followed.
fn read_folder(folder: &Path, prefix: &str, named: &mut Vec<(String, Foreign)>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_folder(&entry.path(), &format!("{prefix}{file}/"), named)?;
        } else if let (true, Some(name)) = (kind.is_file(), file.strip_suffix(".npy")) {
            let shown = entry.path().display().to_string();
            let array = StoredArray::parse(&shown, &file, &read(&entry.path())?)?;
            let name = format!("{prefix}{name}");
            let tensor = of_numpy(&name, &array)?;
            named.push((name, tensor));
        }
    }
    Ok(())
}

fn of_numpy(name: &str, array: &StoredArray) -> Result<Foreign> {
    use Precision::{Float16, Float32, Float64};
    Ok(match array.dtype() {
        "<f2" => Foreign::Floats(Float16, array.elements(|b| f16::from_le_bytes(b).to_f64())?),
        "<f4" => Foreign::Floats(Float32, array.elements(|b| f32::from_le_bytes(b).into())?),
        "<f8" => Foreign::Floats(Float64, array.elements(f64::from_le_bytes)?),
        "<i4" => Foreign::Ids(array.elements(|b| i32::from_le_bytes(b).into())?),
        "<i8" => Foreign::Ids(array.elements(i64::from_le_bytes)?),
        other => bail!("{name}: expected <f2, <f4, <f8, or <i4, <i8 for ids, found {other}"),
    })
}

fn read_safetensors(file: &str, bytes: &[u8]) -> Result<Vec<(String, Foreign)>> {
    let tensors = SafeTensors::deserialize(bytes)
        .with_context(|| format!("{file}: expected a safetensors file"))?;
    ensure!(!tensors.is_empty(), "{file}: expected tensors, found none");
    // The parser keeps the last of several entries with one name; the header itself shows them all.
    let (header, _) = SafeTensors::read_metadata(bytes)?;
    let header = bytes.get(8..8 + header).unwrap_or_default();
    let entries = String::from_utf8_lossy(header)
        .matches("\"data_offsets\"")
        .count();
    ensure!(
        entries == tensors.len(),
        "{file}: expected every name once, found {entries} entries for {} names",
        tensors.len()
    );
    let each = tensors.iter();
    each.map(|(name, tensor)| {
        let (data, shape) = (tensor.data(), tensor.shape());
        use Precision::{Bfloat16, Float16, Float32, Float64};
        let foreign = match tensor.dtype() {
            Dtype::F16 => Foreign::Floats(
                Float16,
                elements(data, shape, |b| f16::from_le_bytes(b).to_f64())?,
            ),
            Dtype::BF16 => Foreign::Floats(
                Bfloat16,
                elements(data, shape, |b| bf16::from_le_bytes(b).to_f64())?,
            ),
            Dtype::F32 => Foreign::Floats(
                Float32,
                elements(data, shape, |b| f32::from_le_bytes(b).into())?,
            ),
            Dtype::F64 => Foreign::Floats(Float64, elements(data, shape, f64::from_le_bytes)?),
            Dtype::I32 => Foreign::Ids(elements(data, shape, |b| i32::from_le_bytes(b).into())?),
            Dtype::I64 => Foreign::Ids(elements(data, shape, i64::from_le_bytes)?),
            other => {
                bail!("{name}: expected F16, BF16, F32, F64, or I32, I64 for ids, found {other:?}")
            }
        };
        Ok((name.to_owned(), foreign))
    })
    .collect()
}

fn elements<T, const N: usize>(
    data: &[u8],
    shape: &[usize],
    element: impl Fn([u8; N]) -> T,
) -> Result<ArrayD<T>> {
    let (elements, _) = data.as_chunks::<N>();
    let elements = elements.iter().map(|&bytes| element(bytes)).collect();
    Ok(ArrayD::from_shape_vec(IxDyn(shape), elements)?)
}
