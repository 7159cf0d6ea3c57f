//! Registries: how fast and in how much memory a blob is pulled, how many questions a verification
//! costs, and what becomes of a rollout where the registry serves so many a second.

mod counted;
mod pull;
mod throttled;

use anyhow::Result;

use super::build::Both;
use super::figures::Figure;
use super::folder::Folder;

/// How often each thing is measured.
pub(super) struct Rounds {
    pub(super) pull: usize,
    pub(super) memory: usize,
    pub(super) throttled: usize,
    /// How many images are rolled out.
    pub(super) images: usize,
}

/// Measures everything.
///
/// # Errors
/// When a tool is missing, or something does not run.
pub(super) fn measure(
    programs: &Both<'_>,
    folder: &Folder,
    rounds: &Rounds,
) -> Result<Vec<Figure>> {
    let mut figures = pull::measure(programs, folder, rounds)?;
    figures.extend(counted::measure(programs, folder)?);
    figures.extend(throttled::measure(programs, folder, rounds)?);
    Ok(figures)
}
