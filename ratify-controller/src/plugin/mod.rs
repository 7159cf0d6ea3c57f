//! The host of plugins: find or install a program, prove it, run it, read its answer.

mod call_directory;
pub mod confined;
pub mod credentials;
pub mod exec;
pub mod find;
pub(crate) mod in_force;
pub mod install;
pub mod inventory;
pub mod loaded;
pub mod lock;
pub(crate) mod notation;
pub mod process;
pub mod rules;
pub mod sandbox;
pub mod sign;
pub mod signatures;
pub mod store;
pub mod trust;
pub(crate) mod trusted;
pub mod verifier;
