//! How many questions a registry is asked for one verification, where nothing is known yet. It counts
//! them itself.

use anyhow::{Context as _, Result, bail};

use crate::bench::build::Both;
use crate::bench::figures::{Figure, Judged, Series, Shown, Target, Unit};
use crate::bench::folder::{Folder, Home};
use crate::bench::images::{self, ARTIFACTS};
use crate::bench::load::{Plugins, denial};
use crate::bench::registry::Registry;
use crate::bench::say;
use crate::bench::server::{Host, Plugin, Server};

/// How often v1 is asked for a good answer.
const TRIES_OF_V1: usize = 10;

/// An image with [`ARTIFACTS`] artifacts, verified by a plugin that reads nothing and by one that reads
/// manifest and blob of what it judges, over connections of its own.
///
/// # Errors
/// When a server does not run, or says no.
pub(super) fn measure(programs: &Both<'_>, folder: &Folder) -> Result<Vec<Figure>> {
    let registry = Registry::start(programs.tool("registry-referrers")?)?;
    let image = images::push(registry.address(), 1, ARTIFACTS)?.remove(0);
    let (go, sbom) = (programs.tool("v1-sample-oras")?, programs.tool("v1-sbom")?);
    let artifacts = ARTIFACTS as f64;
    [
        (
            "cold verification of 5 artifacts: requests, no blob read",
            Plugins { kind: "sample", ours: programs.sample, v1: go },
            // What the tag stands for, what is attached, and each manifest.
            Target::AtMost(2.0 + artifacts),
        ),
        (
            "the same, each read by v1's Go sbom plugin, which asks by itself: requests",
            Plugins { kind: "sbom", ours: sbom, v1: sbom },
            Target::AtMost(2.0 + 3.0 * artifacts),
        ),
    ]
    .into_iter()
    .map(|(name, plugins, target)| {
        let hosts = [("ours", programs.ratify), ("v1.4.0", programs.v1)];
        let counts = hosts.into_iter().zip(plugins.each()).map(|((name, program), plugin)| {
            let host = Host { name, program };
            // v1's plugins race on the index of one cache, and may deny what is good; ours may not.
            let tries = if name == "ours" { 1 } else { TRIES_OF_V1 };
            let asked = (1..tries)
                .find_map(|_| ask(host, plugin, &registry, &image, folder).ok())
                .map_or_else(|| ask(host, plugin, &registry, &image, folder), Ok);
            asked.with_context(|| format!("a verification by {name}"))
        });
        let [ours, v1] = <[u64; 2]>::try_from(counts.collect::<Result<Vec<_>>>()?)
            .unwrap_or_default()
            .map(|count| Series::from_iter([count as f64]));
        let (unit, judged, shown) = (Unit::Count, Judged::Worst, Shown::InDocument);
        Ok(Figure { name, unit, target, judged, ours, v1, shown })
    })
    .collect()
}

fn ask(
    host: Host<'_>,
    plugin: Plugin<'_>,
    registry: &Registry,
    image: &str,
    folder: &Folder,
) -> Result<u64> {
    let server = Server::start(host, plugin, &folder.fresh(Home::Disk)?)?;
    server.settle()?;
    let before = registry.counts()?;
    let answer = server.ask(image)?;
    server.settle()?;
    let asked = registry.counts()?.since(before).served;
    if let Some(denial) = denial(&answer) {
        bail!("it is denied: {denial}");
    }
    say(&format!("{} asks {asked} times, with {}", host.name, plugin.kind));
    Ok(asked)
}
