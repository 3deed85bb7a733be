//! What a command runs on is what the environment asks for.

use crate::support::{outcome, xtask_with};

#[test]
fn any_instruction_set_and_any_number_of_threads_pass() {
    let on = [("LLORCH_ISA", "portable"), ("LLORCH_THREADS", "2")];
    let (code, printed) = outcome(&xtask_with(&on, &["validate", "--checkpoint", "2"]));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("PASS: 2 of 2 on tiny"), "{printed}");
}

#[test]
fn what_the_environment_cannot_mean_is_misuse() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.npz");
    let trace = ["trace", "--tokens", "1", "--out"];
    let trace = [&trace[..], &[file.to_str().expect("a path in UTF-8")]].concat();
    for (name, wrong, expected) in [
        ("LLORCH_THREADS", "0", "a number above 0"),
        ("LLORCH_THREADS", "many", "a number above 0"),
        ("LLORCH_ISA", "sse9", "avx512, avx2 or portable"),
    ] {
        // A folder of references that has none would be INCONCLUSIVE; it does not come to that.
        let nowhere = env!("CARGO_MANIFEST_DIR");
        for command in [&["validate", "--refs", nowhere][..], &trace] {
            let (code, printed) = outcome(&xtask_with(&[(name, wrong)], command));
            assert_eq!(code, Some(2), "{printed}");
            let error = format!("error: {name}: expected {expected}, found \"{wrong}\"\n");
            assert_eq!(printed, error);
        }
    }
    assert!(!file.exists());
}
