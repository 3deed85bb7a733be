//! `cargo xtask trace` writes every site of the path that users run.

use crate::support::{outcome, xtask};
use llorch_parity::Trace;
use ndarray::Ix3;

#[test]
fn every_site_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.npz");
    let out = file.to_str().expect("a path in UTF-8");
    let (code, printed) = outcome(&xtask(
        &["trace", "--tokens", "1,2,3;4,5,6", "--out", out],
        &[],
    ));
    assert_eq!(code, Some(0), "{printed}");
    let trace = Trace::read_npz(&file).expect("a trace");
    // embed, ln_f, logits, the tokens, and 14 sites in each of 4 layers.
    assert_eq!(trace.len(), 4 + 14 * 4);
    let logits = trace.array::<f32, Ix3>("0/logits").expect("logits");
    assert_eq!(logits.dim(), (2, 3, 1001));
}

#[test]
fn a_prompt_is_the_same_as_its_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (text, ids) = (file("text.npz"), file("ids.npz"));
    let (code, printed) = outcome(&xtask(
        // A text may begin with a dash.
        &["trace", "--prompt", "-- My lord", "--out", &text],
        &[],
    ));
    assert_eq!(code, Some(0), "{printed}");
    let text = Trace::read_npz(text.as_ref()).expect("a trace");
    let tokens = text.array::<i64, ndarray::Ix2>("0/tokens").expect("tokens");
    let list: Vec<String> = tokens.iter().map(ToString::to_string).collect();
    let list = list.join(",");
    let (code, printed) = outcome(&xtask(&["trace", "--tokens", &list, "--out", &ids], &[]));
    assert_eq!(code, Some(0), "{printed}");
    assert_eq!(Trace::read_npz(ids.as_ref()).expect("a trace"), text);
}
