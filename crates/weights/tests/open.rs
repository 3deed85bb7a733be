//! Paths and headers.

mod common;

use common::{file, folder, folder_of, item, model, raw, write};
use llorch_weights::{Error, Weights};
use safetensors::SafeTensorError;

/// Opens a folder whose model.safetensors is `bytes`.
fn refused(bytes: &[u8]) -> Error {
    let dir = folder([("model.safetensors", bytes)]);
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    error
}

#[test]
fn nothing_at_the_path() {
    let dir = folder([]);
    for path in [
        dir.path().join("no-such-folder"),
        dir.path().join("x.safetensors"),
    ] {
        let error = Weights::open(&path).unwrap_err();
        assert!(
            matches!(&error, Error::NotFound { path: p } if *p == path),
            "{error}"
        );
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
    let error = Weights::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, Error::NoWeights { dir: d } if d == dir.path()),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&dir.path().display().to_string()),
        "{error}"
    );
}

#[test]
fn pickles_are_not_read() {
    for name in ["pytorch_model.bin", "pytorch_model.bin.index.json"] {
        let dir = folder([(name, b"\x80\x02")]);
        for path in [dir.path().to_path_buf(), dir.path().join(name)] {
            let error = Weights::open(&path).unwrap_err();
            assert!(
                matches!(&error, Error::Pickle { path } if path.ends_with(name)),
                "{error}"
            );
            assert!(error.to_string().contains("save_pretrained"), "{error}");
        }
        // Beside safetensors a pickle does no harm.
        write(dir.path(), "model.safetensors", &file(&model("")));
        assert!(Weights::open(dir.path()).is_ok());
    }
}

#[test]
fn a_file_and_its_folder_open_the_same() {
    let dir = folder_of(&model(""));
    let by_folder = Weights::open(dir.path()).unwrap();
    let by_file = Weights::open(dir.path().join("model.safetensors")).unwrap();
    assert_eq!(
        by_folder.names().collect::<Vec<_>>(),
        by_file.names().collect::<Vec<_>>()
    );
    assert_eq!(by_folder.names().count(), 16);
    let paths: Vec<_> = by_folder.paths().collect();
    assert_eq!(paths, [dir.path().join("model.safetensors")]);
}

#[test]
fn lengths_that_the_safetensors_crate_refuses() {
    use SafeTensorError::*;
    let whole = file(&model(""));
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let length = |n: u64| [&n.to_le_bytes()[..], &whole[8..]].concat();
    let source = |bytes: &[u8]| match refused(bytes) {
        Error::Safetensors { source, .. } => source,
        error => panic!("{error}"),
    };
    assert!(matches!(source(b""), HeaderTooSmall));
    assert!(matches!(source(&whole[..7]), HeaderTooSmall));
    assert!(matches!(source(&whole[..8]), InvalidHeaderLength));
    assert!(matches!(source(&whole[..header - 1]), InvalidHeaderLength));
    assert!(matches!(
        source(&length(whole.len() as u64)),
        InvalidHeaderLength
    ));
    assert!(matches!(source(&length(100_000_001)), HeaderTooLarge));
    assert!(matches!(source(&length(u64::MAX)), HeaderTooLarge));
    assert!(matches!(
        source(&[&whole[..], b"x"].concat()),
        MetadataIncompleteBuffer
    ));
}

/// Refused for its length, before anybody looks for JSON in it. The file is sparse: it takes no disk.
#[test]
fn a_header_over_the_limit_that_is_all_there() {
    const LENGTH: u64 = 100_000_001;
    let dir = folder([("model.safetensors", &LENGTH.to_le_bytes())]);
    let file = std::fs::File::options()
        .write(true)
        .open(dir.path().join("model.safetensors"));
    file.unwrap().set_len(8 + LENGTH).unwrap();
    let error = Weights::open(dir.path()).unwrap_err();
    let too_large = matches!(
        error,
        Error::Safetensors {
            source: SafeTensorError::HeaderTooLarge,
            ..
        }
    );
    assert!(too_large, "{error}");
}

#[test]
fn headers_that_are_not_what_they_should_be() {
    let data = [0; 16];
    for (header, why) in [
        ("{", "cut"),
        ("[]", "no object"),
        ("{} {}", "two objects"),
        (r#"{"a":{"dtype":"F32","shape":[4]}}"#, "no offsets"),
        (
            r#"{"a":{"dtype":"F77","shape":[4],"data_offsets":[0,16]}}"#,
            "no such type",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}"#,
            "negative",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}"#,
            "size and shape differ",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#,
            "backwards",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}}"#,
            "a hole",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                "b":{"dtype":"F32","shape":[3],"data_offsets":[4,16]}}"#,
            "overlap",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#,
            "overflow",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}}"#,
            "a duplicate inside an entry",
        ),
    ] {
        let error = refused(&raw(header, &data));
        assert!(matches!(error, Error::Safetensors { .. }), "{why}: {error}");
    }
    let mut not_utf8 = raw("{\"a\":1}", &data);
    not_utf8[10] = 0xff;
    assert!(matches!(refused(&not_utf8), Error::Safetensors { .. }));
}

#[test]
fn a_key_given_twice() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let again = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let error = refused(&raw(&format!("{{{a},{again}}}"), &[0; 8]));
    assert!(
        matches!(&error, Error::DuplicateKey { key, .. } if key == "a"),
        "{error}"
    );
    let error = refused(&raw(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]));
    assert!(
        matches!(&error, Error::DuplicateKey { key, .. } if key == "__metadata__"),
        "{error}"
    );
}

#[test]
fn a_tensor_past_the_end() {
    let whole = file(&model(""));
    let error = refused(&whole[..whole.len() - 1]);
    let Error::PastEnd { name, end, len, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((&name[..], end - len), ("ln_f.bias", 1));
}

/// Offsets that add up to nearly 2^64 make safetensors 0.8 itself overflow.
#[test]
fn offsets_near_the_largest_number() {
    let each = (1u64 << 61) - 1;
    let entry = |i: u64| {
        let (start, end) = (i * each, (i + 1) * each);
        format!(r#""{i}":{{"dtype":"U8","shape":[{each}],"data_offsets":[{start},{end}]}}"#)
    };
    let header: Vec<String> = (0..8).map(entry).collect();
    let error = refused(&raw(&format!("{{{}}}", header.join(",")), &[]));
    assert!(matches!(error, Error::PastEnd { len: 0, .. }), "{error}");
}

#[test]
fn one_tensor_with_and_without_prefix() {
    let items = [
        item("ln_f.bias", &[4], 0.0),
        item("transformer.ln_f.bias", &[4], 0.0),
    ];
    let error = refused(&file(&items));
    let Error::DuplicateTensor {
        name,
        first,
        second,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(name, "ln_f.bias");
    assert!(first.starts_with("ln_f.bias in ") && second.starts_with("transformer.ln_f.bias in "));
}

/// The figure comes from `sha256sum`.
#[test]
fn the_hash_of_a_file() {
    let dir = folder([("model.safetensors", &raw("{}", b""))]);
    assert_eq!(
        Weights::open(dir.path()).unwrap().sha256(),
        "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd"
    );
}
