//! What the environment asks for, read by a process of its own: another test's must not change meanwhile.

use std::env;
use std::ffi::OsStr;
use std::process::Command;
use std::thread;

use llorch_numerics::{Cpu, Isa};

/// Set for the process that reads its environment and says what it found.
const CHILD: &str = "LLORCH_TEST_CHILD";
const SAYS: &str = "from_env: ";

/// What [`Cpu::from_env`] says where these variables are set and no others.
fn said(test: &str, threads: Option<&OsStr>, isa: Option<&OsStr>) -> String {
    let mut child = Command::new(env::current_exe().expect("this test"));
    child.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    for (name, value) in [("LLORCH_THREADS", threads), ("LLORCH_ISA", isa)] {
        match value {
            Some(value) => child.env(name, value),
            None => child.env_remove(name),
        };
    }
    let output = child.output().expect("the child's output");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let line = printed.lines().find_map(|line| line.strip_prefix(SAYS));
    line.unwrap_or_else(|| panic!("it said nothing: {printed}"))
        .to_owned()
}

/// In the child: says it and is done.
fn is_child() -> bool {
    let is_child = env::var_os(CHILD).is_some();
    if is_child {
        let found = match Cpu::from_env() {
            Ok(cpu) => format!("{} on {}", cpu.threads(), cpu.isa()),
            Err(error) => error.to_string(),
        };
        // The test's name may stand before it, without a new line.
        println!("\n{SAYS}{found}");
    }
    is_child
}

#[test]
fn threads_and_instruction_set_are_what_it_asks_for() {
    if is_child() {
        return;
    }
    let said = |threads: Option<&str>, isa: Option<&str>| {
        let [threads, isa] = [threads, isa].map(|value| value.map(OsStr::new));
        said(
            "threads_and_instruction_set_are_what_it_asks_for",
            threads,
            isa,
        )
    };
    let all = thread::available_parallelism().expect("a number of threads");
    let usual = format!("{all} on {}", Isa::best());
    assert_eq!(said(None, None), usual);
    assert_eq!(said(Some(""), Some("")), usual);
    for threads in ["1", "2", "5"] {
        assert_eq!(
            said(Some(threads), None),
            format!("{threads} on {}", Isa::best())
        );
    }
    for isa in [Isa::Avx512, Isa::Avx2, Isa::Portable] {
        let found = said(Some("3"), Some(isa.name()));
        if isa.is_available() {
            assert_eq!(found, format!("3 on {isa}"));
        } else {
            assert!(found.ends_with(&format!(", found {isa}")), "{found}");
        }
    }
}

#[test]
fn what_cannot_be_understood_is_refused_by_name() {
    if is_child() {
        return;
    }
    let said = |threads: &str, isa: &str| {
        let [threads, isa] = [threads, isa].map(|value| Some(OsStr::new(value)));
        said("what_cannot_be_understood_is_refused_by_name", threads, isa)
    };
    for wrong in ["0", "-1", "1.5", "two", " 2", "99999999999999999999"] {
        let expected = format!("LLORCH_THREADS: expected a number above 0, found {wrong:?}");
        assert_eq!(said(wrong, "portable"), expected);
    }
    for wrong in ["AVX512", "sse2", "portable "] {
        let expected = format!("LLORCH_ISA: expected avx512, avx2 or portable, found {wrong:?}");
        assert_eq!(said("2", wrong), expected);
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_text_is_refused_by_name() {
    use std::os::unix::ffi::OsStringExt;
    if is_child() {
        return;
    }
    let wrong = std::ffi::OsString::from_vec(vec![b'2', 0xff]);
    let found = said("what_is_no_text_is_refused_by_name", Some(&wrong), None);
    let expected = "LLORCH_THREADS: expected a number above 0, found \"2\u{fffd}\"";
    assert_eq!(found, expected);
}
