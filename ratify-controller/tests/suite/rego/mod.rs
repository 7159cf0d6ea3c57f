//! Rego, against what others wrote: OPA's own cases of conformance, and the policies that v1 ships.

mod conformance;
mod shipped;
