//! How large the programs are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::build::Programs;
use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use crate::image;

/// Looks at the files; targets are in units of 1000.
///
/// # Errors
/// When one is not there.
pub(super) fn measure(programs: &Programs) -> Result<Vec<Figure>> {
    let Programs { ratify, launcher, sample, sample_with_store, v1, v1_sample, .. } = programs;
    Ok(vec![
        figure("`ratify`, static", image::BUDGET as f64, ratify, Some(v1))?,
        Figure { target: Target::None, ..figure("`ratify-launch`, static", 0.0, launcher, None)? },
        figure("sample plugin, static", 600e3, sample, Some(v1_sample))?,
        figure("sample plugin with the store linked", 5e6, sample_with_store, Some(v1_sample))?,
    ])
}

fn figure(name: &'static str, limit: f64, ours: &Path, v1: Option<&Path>) -> Result<Figure> {
    let ours = Series::from_iter([bytes(ours)?]);
    let v1 = v1.map(bytes).transpose()?.into_iter().collect();
    let (target, judged, shown) = (Target::AtMost(limit), Judged::Worst, Shown::Everywhere);
    Ok(Figure { name, unit: Unit::Bytes, target, judged, ours, v1, shown })
}

fn bytes(path: &Path) -> Result<f64> {
    let metadata = fs::metadata(path);
    Ok(metadata.with_context(|| format!("cannot read {}", path.display()))?.len() as f64)
}
