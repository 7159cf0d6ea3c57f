//! Temporary.
#[path = "suite/parity/mod.rs"]
mod parity;
