//! The commands as a user runs them.

mod gate;
mod support;
mod trace;
