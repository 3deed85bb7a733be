//! Printing that outlives its reader.

/// `println!`, but a reader that has gone away (`cargo xtask validate | head`) costs no verdict: the exit
/// code is still the run's own.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
