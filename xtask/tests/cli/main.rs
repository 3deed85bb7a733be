//! The commands as a user runs them.

mod bench;
mod compare;
mod gate;
mod runs_on;
mod support;
mod trace;
