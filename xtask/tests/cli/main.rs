//! The commands as a user runs them.

mod bench;
mod bugs;
mod compare;
mod fetch;
mod gate;
mod runs_on;
mod support;
mod tampering;
mod trace;
