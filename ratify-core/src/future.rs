//! The future type of every async seam, written out so that no macro crate is needed.

use std::{future::Future, pin::Pin};

/// A boxed future that may move between threads, as every async seam method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
