//! The rows of docs/COMPATIBILITY.md, section "Reports and answers": what each looks like where two
//! answers are compared.

use super::compare::Difference;

/// A deliberate difference.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) is: fn(&Difference) -> bool,
}

pub(super) const FOREIGN_ARTIFACT: &str = "C-foreign-artifact";

pub(super) const ROWS: &[Row] = &[Row { id: FOREIGN_ARTIFACT, is: |_| false }];
