//! Answers at the server's door: what one costs where the verdict is kept, asked for all the time
//! or rarely, and what becomes of them where the registry is slow or many ask for the same.

mod cached;
mod rare;
mod slow;

use anyhow::Result;

use super::build::Both;
use super::figures::Figure;
use super::folder::Folder;

/// How often each thing is measured.
pub(super) struct Rounds {
    pub(super) cached: usize,
    pub(super) rare: usize,
    pub(super) slow: usize,
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
    let mut figures = cached::measure(programs, folder, rounds.cached)?;
    figures.extend(rare::measure(programs, folder, rounds.rare)?);
    figures.extend(slow::measure(programs, folder, rounds.slow)?);
    Ok(figures)
}
