//! `cargo xtask bench`.

use anyhow::{Result, bail};

/// Says that it is not there yet, and fails.
pub(crate) fn run() -> Result<()> {
    bail!("not built yet")
}
