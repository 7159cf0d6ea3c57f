//! Rego, against what others wrote: OPA's own cases of conformance, and the policies that v1 ships.

// Helpers of tests count as tests.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod conformance;
mod shipped;
