//! What was read is given back when nobody holds it any more.

mod common;

use common::{Item, folder_of, item, model};
use llorch_weights::Weights;

/// 4 MiB and an odd rest, so that it begins and ends within pages that its neighbours share.
const LENGTH: usize = (1 << 20) + 5;

/// Numbers that float32 holds, in a large tensor between two small ones.
fn items() -> [Item; 3] {
    [
        item("ln_f.weight", &[7], 0.5),
        item("large", &[LENGTH], 0.25),
        item("ln_f.bias", &[7], 3.5),
    ]
}

fn assert_counts_from(values: &[f32], first: f32) {
    assert!(!values.is_empty());
    for (i, &value) in values.iter().enumerate() {
        assert_eq!(value, first + i as f32, "{i}");
    }
}

#[test]
fn what_was_given_back_is_read_again_with_the_same_numbers() {
    let dir = folder_of(&items());
    let weights = Weights::open(dir.path()).unwrap();
    let hash = weights.sha256();
    for _ in 0..3 {
        let tensor = weights.tensor("large", &[LENGTH]).unwrap();
        assert_counts_from(tensor.as_slice(), 0.25);
    }
    assert_eq!(weights.sha256(), hash);
}

#[test]
fn neighbours_and_clones_keep_their_numbers() {
    let dir = folder_of(&items());
    let weights = Weights::open(dir.path()).unwrap();
    let before = weights.tensor("ln_f.weight", &[7]).unwrap();
    let tensor = weights.tensor("large", &[LENGTH]).unwrap();
    let behind = weights.tensor("ln_f.bias", &[7]).unwrap();
    let (clone, again) = (tensor.clone(), weights.tensor("large", &[LENGTH]).unwrap());
    drop(tensor);
    assert_counts_from(clone.as_slice(), 0.25);
    drop(clone);
    assert_counts_from(again.as_slice(), 0.25);
    drop(again);
    assert_counts_from(before.as_slice(), 0.5);
    assert_counts_from(behind.as_slice(), 3.5);
}

/// A whole model read tensor by tensor, twice, in the order of its names.
#[test]
fn every_tensor_of_a_model_is_read_again() {
    let items = model("");
    let dir = folder_of(&items);
    let weights = Weights::open(dir.path()).unwrap();
    for _ in 0..2 {
        for (i, item) in items.iter().enumerate() {
            let tensor = weights.tensor(&item.key, &item.shape).unwrap();
            assert_counts_from(tensor.as_slice(), 100.0 * i as f32);
        }
    }
}

/// Kilobytes of a folder's mapped weights that this process holds in memory.
#[cfg(target_os = "linux")]
fn resident(dir: &std::path::Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let file = dir.join("model.safetensors");
    let of_file = maps
        .lines()
        .skip_while(|line| !line.ends_with(file.to_str().unwrap()));
    let rss = of_file.skip(1).find_map(|line| line.strip_prefix("Rss:"));
    let rss = rss.expect("the mapped file");
    rss.trim_end_matches("kB").trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn memory_is_given_back_with_the_last_clone() {
    const LARGE: usize = LENGTH * 4 / 1024;
    let dir = folder_of(&items());
    let resident = || resident(dir.path());
    let weights = Weights::open(dir.path()).unwrap();
    let tensor = weights.tensor("large", &[LENGTH]).unwrap();
    assert!(resident() >= LARGE, "{} kB", resident());
    let clone = tensor.clone();
    drop(tensor);
    assert!(resident() >= LARGE, "{} kB", resident());
    drop(clone);
    assert!(resident() < LARGE / 4, "{} kB", resident());
}
