//! A small valid file, cut in every place and changed in the first 400: refused without a panic.

mod common;

use common::{config, file, folder, model, write};
use llorch_weights::{Error, Weights};

/// Opens the file and reads all of it.
fn read(dir: &std::path::Path) -> Result<usize, Error> {
    let weights = Weights::open(dir)?;
    weights.check(&config())?;
    let mut elements = 0;
    for (name, shape) in weights.expected(&config()) {
        elements += weights.tensor(&name, &shape)?.as_slice().len();
    }
    Ok(elements)
}

#[test]
fn cut_anywhere() {
    let bytes = file(&model(""));
    let dir = folder([("model.safetensors", &bytes)]);
    assert_eq!(read(dir.path()).unwrap(), 194);
    let cut = std::fs::File::options()
        .write(true)
        .open(dir.path().join("model.safetensors"));
    let cut = cut.unwrap();
    for end in (0..bytes.len()).rev() {
        cut.set_len(end as u64).unwrap();
        assert!(read(dir.path()).is_err(), "cut at {end}");
    }
}

#[test]
fn changed_anywhere() {
    let bytes = file(&model(""));
    let dir = folder([]);
    for at in 0..400 {
        for flip in [0x01, 0x04, 0x20, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            write(dir.path(), "model.safetensors", &damaged);
            assert!(read(dir.path()).is_err(), "byte {at} ^ {flip}");
        }
    }
}
