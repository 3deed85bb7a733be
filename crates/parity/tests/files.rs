//! Reading and writing `.npz`, and refusing what is none.

mod common;

use common::{constant, counting};
use llorch_parity::{Dtype, Tensor, Trace, TraceError};
use ndarray::{Ix1, Ix2, Ix3, array};
use std::fs;
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A `.npy` as numpy writes it, with any header.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(header.len() + 1).unwrap().to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(data);
    bytes
}

fn header(descr: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The archive with an extra field and a comment at every entry of its directory (APPNOTE.TXT 4.3.12, 4.3.16).
fn annotated(zip: &[u8]) -> Vec<u8> {
    let (extra, comment) = (b"\xfe\xca\x03\x00abc", b"noted");
    let (files, end) = zip.split_at(zip.len() - 22);
    let start = u32::from_le_bytes(end[16..20].try_into().unwrap()) as usize;
    let (mut bytes, mut directory) = (files[..start].to_vec(), &files[start..]);
    while !directory.is_empty() {
        let name = usize::from(u16::from_le_bytes([directory[28], directory[29]]));
        assert_eq!(directory[30..34], [0; 4], "nothing there yet");
        let (entry, rest) = directory.split_at(46 + name);
        bytes.extend(&entry[..30]);
        bytes.extend([extra.len() as u8, 0, comment.len() as u8, 0]);
        bytes.extend(&entry[34..]);
        bytes.extend(extra);
        bytes.extend(comment);
        directory = rest;
    }
    let size = u32::try_from(bytes.len() - start).unwrap();
    bytes.extend(&end[..12]);
    bytes.extend(size.to_le_bytes());
    bytes.extend(&end[16..]);
    bytes
}

fn read_one(npy: &[u8]) -> Result<Tensor, TraceError> {
    let trace = Trace::from_npz("t.npz", &zip(&[("a.npy", npy)]))?;
    Ok(trace.get("a").unwrap().clone())
}

fn sample() -> Trace {
    let mut trace = Trace::new();
    trace
        .insert("0/a", array![[1.0f32, f32::NEG_INFINITY], [-0.0, f32::NAN]])
        .unwrap();
    trace.insert("0/b", array![1.0f64, 1e300]).unwrap();
    trace.insert("0/tokens", array![[1i64, i64::MAX]]).unwrap();
    trace
}

fn bytes_of(trace: &Trace) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.npz");
    trace.write_npz(&path).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn what_is_written_is_read_back_to_the_bit_and_equal_traces_give_equal_bytes() {
    let bytes = bytes_of(&sample());
    assert_eq!(bytes, bytes_of(&sample()));
    let back = Trace::from_npz("t.npz", &bytes).unwrap();
    // Debug text, because NaN is unequal to itself.
    assert_eq!(format!("{back:?}"), format!("{:?}", sample()));
    let zero = back.array::<f32, Ix2>("0/a").unwrap()[[1, 0]];
    assert!(zero == 0.0 && zero.is_sign_negative());
}

#[test]
fn an_archive_with_extra_fields_and_comments_is_read() {
    let bytes = bytes_of(&sample());
    let read = |bytes: &[u8]| format!("{:?}", Trace::from_npz("t.npz", bytes).unwrap());
    assert_eq!(read(&annotated(&bytes)), read(&bytes));
}

#[test]
fn numpys_own_spelling_is_read() {
    // The first bytes that numpy 2 writes for np.arange(3, dtype='<f4') and for a scalar.
    let tensor = read_one(&npy(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }           ",
        &floats(&[0.0, 1.0, 2.0]),
    ));
    assert_eq!(tensor.unwrap(), counting(&[3]));
    let scalar = read_one(&npy(&header("'<i8'", false, "()"), &7i64.to_le_bytes())).unwrap();
    assert_eq!((scalar.shape(), scalar.len()), (&[][..], 1));
}

#[test]
fn fortran_order_comes_out_in_standard_order() {
    let tensor = read_one(&npy(
        &header("'<f4'", true, "(2, 3)"),
        &floats(&[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
    ));
    let tensor = tensor.unwrap();
    assert_eq!(tensor, counting(&[2, 3]));
    assert!(tensor.view::<f32, Ix2>().unwrap().is_standard_layout());
}

#[test]
fn other_element_types_are_refused_by_name() {
    for descr in ["'<f2'", "'>f4'", "'<i4'", "'|b1'", "'|O'", "'<U8'", "'<c8'"] {
        let error = read_one(&npy(&header(descr, false, "(1,)"), &[0; 8])).unwrap_err();
        let name = descr.trim_matches('\'');
        assert!(
            matches!(&error, TraceError::UnsupportedDtype { entry, found, .. }
                if entry == "a.npy" && found.contains(name)),
            "{error}"
        );
    }
}

#[test]
fn sizes_that_the_bytes_do_not_bear_out_are_refused() {
    let four = floats(&[1.0]);
    for (shape, expected) in [
        ("(2,)", 8),
        ("(0,)", 0),
        ("(1000000000000,)", 4_000_000_000_000),
        (
            "(4294967296, 4294967296, 4294967296, 4294967296)",
            u128::MAX,
        ),
    ] {
        let error = read_one(&npy(&header("'<f4'", false, shape), &four)).unwrap_err();
        let TraceError::Length {
            expected: needed,
            found: 4,
            entry,
            ..
        } = &error
        else {
            panic!("{shape}: {error}")
        };
        assert_eq!((*needed, entry.as_str()), (expected, "a.npy"));
    }
    let error = read_one(&npy(&header("'<f4'", false, "(1,)"), &[0; 5])).unwrap_err();
    assert!(
        matches!(
            error,
            TraceError::Length {
                expected: 4,
                found: 5,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn headers_that_are_none_are_refused() {
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    let mut late = npy(&header("'<f4'", false, "(1,)"), &[]);
    late.truncate(40);
    let nested = format!("{}{}", "(".repeat(2000), ")".repeat(2000));
    for (bytes, word) in [
        (Vec::new(), "no npy header"),
        (b"\x93NUMPY\x01\x00".to_vec(), "no npy header"),
        (b"\x93NUMPX\x01\x00\x10\x00".to_vec(), "no npy header"),
        (b"\x93NUMPY\x09\x00\x10\x00".to_vec(), "no npy header"),
        (long, "a header of 4294967295 bytes"),
        (late, "a truncated header"),
        (npy(&nested, &[]), "opening brackets"),
        (npy("[]", &[]), ""),
        (npy("{'descr': '<f4', 'shape': (1,)}", &floats(&[1.0])), ""),
        (
            npy(&header("'<f4'", false, "(-1,)"), &floats(&[1.0])),
            "shape",
        ),
        (
            npy(
                &header("'<f4'", false, "(0, 1099511627776, 1099511627776)"),
                &[],
            ),
            "",
        ),
    ] {
        let error = read_one(&bytes).unwrap_err();
        assert!(matches!(error, TraceError::Npy { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("t.npz: a.npy: expected a numpy array"),
            "{text}"
        );
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn a_header_is_read_up_to_the_longest_and_no_further() {
    let padded = |length: usize| {
        // The newline at its end is the last byte.
        let header = format!("{:1$}", header("'<f4'", false, "(1,)"), length - 1);
        read_one(&npy(&header, &floats(&[7.0])))
    };
    assert_eq!(padded(4096).unwrap(), constant(&[1], 7.0));
    assert!(matches!(padded(4097), Err(TraceError::Npy { .. })));
}

#[test]
fn archives_without_tensors_or_with_other_files_are_refused() {
    let read = |entries: &[(&str, &[u8])]| Trace::from_npz("t.npz", &zip(entries)).unwrap_err();
    assert!(matches!(read(&[]), TraceError::Empty { .. }));
    let npy = npy(&header("'<f4'", false, "(1,)"), &floats(&[1.0]));
    for name in ["a.txt", "a", ".npy", "a.npy/"] {
        let error = read(&[(name, &npy)]);
        assert!(
            matches!(&error, TraceError::EntryName { entry, .. } if entry == name),
            "{error}"
        );
    }
    assert!(matches!(
        Trace::new().write_npz("none.npz".as_ref()),
        Err(TraceError::Empty { .. })
    ));
}

#[test]
fn an_entry_hidden_behind_another_of_its_name_is_refused() {
    let one = npy(&header("'<f4'", false, "(1,)"), &floats(&[1.0]));
    let two = npy(&header("'<f4'", false, "(1,)"), &floats(&[2.0]));
    let mut bytes = zip(&[("aaaa.npy", &one), ("bbbb.npy", &two)]);
    for at in 0..bytes.len() - 4 {
        if &bytes[at..at + 4] == b"bbbb" {
            bytes[at..at + 4].copy_from_slice(b"aaaa");
        }
    }
    for bytes in [annotated(&bytes), bytes] {
        let error = Trace::from_npz("t.npz", &bytes).unwrap_err();
        assert!(
            matches!(&error, TraceError::Duplicate { name, .. } if name == "aaaa.npy"),
            "{error}"
        );
    }
}

#[test]
fn a_name_stands_for_one_tensor() {
    assert!(Trace::new().is_empty());
    let mut trace = sample();
    let error = trace.insert("0/b", counting(&[1])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "insert: expected every name once, found \"0/b\" twice"
    );
    assert_eq!(trace.get("0/b").unwrap().dtype(), Dtype::Float64);
    let mut other = Trace::new();
    other.insert("1/b", counting(&[1])).unwrap();
    trace.merge(other.clone()).unwrap();
    assert_eq!((trace.len(), trace.is_empty()), (4, false));
    assert!(matches!(trace.merge(other), Err(TraceError::Duplicate { name, .. }) if name == "1/b"));
}

#[test]
fn an_array_comes_as_asked_for_or_says_why_not() {
    let trace = sample();
    assert_eq!(trace.array::<i64, Ix2>("0/tokens").unwrap()[[0, 0]], 1);
    let error = trace.array::<f32, Ix1>("0/c").unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a tensor named \"0/c\", found none"
    );
    assert!(matches!(error, TraceError::Missing { .. }));
    let error = trace.array::<f32, Ix1>("0/b").unwrap_err();
    assert_eq!(error.to_string(), "0/b: expected float32, found float64");
    assert!(matches!(error, TraceError::Dtype { .. }));
    let error = trace.array::<f32, Ix3>("0/a").unwrap_err();
    assert_eq!(
        error.to_string(),
        "0/a: expected 3 axes, found shape [2, 2]"
    );
    assert!(matches!(error, TraceError::Rank { .. }));
}

#[test]
fn what_the_system_refuses_is_an_io_error_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere.npz");
    let error = Trace::read_npz(&nowhere).unwrap_err();
    assert!(matches!(&error, TraceError::Io { file, .. } if file.ends_with("nowhere.npz")));
    assert!(matches!(
        sample().write_npz(dir.path()),
        Err(TraceError::Io { .. })
    ));
    sample().write_npz(&nowhere).unwrap();
    assert_eq!(Trace::read_npz(&nowhere).unwrap().len(), 3);
}

#[test]
fn every_truncated_archive_is_refused() {
    let bytes = bytes_of(&sample());
    for length in 0..bytes.len() {
        let error = Trace::from_npz("t.npz", &bytes[..length]).unwrap_err();
        assert!(
            error.to_string().starts_with("t.npz: "),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_flipped_bit_is_refused_or_leaves_every_value_as_it_was() {
    let mut trace = Trace::new();
    trace.insert("0/a", counting(&[2, 3])).unwrap();
    let bytes = bytes_of(&trace);
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match Trace::from_npz("t.npz", &flipped) {
            Err(_) => refused += 1,
            // A timestamp, say, or a letter of the name.
            Ok(read) => {
                let tensors: Vec<_> = read.iter().map(|(_, tensor)| tensor).collect();
                assert_eq!(tensors, [&counting(&[2, 3])], "bit {bit}");
            }
        }
    }
    assert!(
        refused > bytes.len() * 4,
        "{refused} of {} bits",
        bytes.len() * 8
    );
}
