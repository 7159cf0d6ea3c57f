//! A rollout of many images of a registry that serves so many requests a second and answers the
//! others with 429, as public ones do.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Rounds;
use crate::bench::build::Both;
use crate::bench::figures::{Figure, Judged, Shown, Target, Unit};
use crate::bench::folder::{Folder, Home};
use crate::bench::images;
use crate::bench::load::{self, Plugins};
use crate::bench::registry::{Counts, Registry};
use crate::bench::say;
use crate::bench::server::{Host, Plugin, Server};

/// What the registry serves.
const REQUESTS_PER_SECOND: u32 = 50;
/// How many questions are open at a time. An image is three requests, so that each question can be
/// answered in half of the time that it has.
const AT_ONCE: usize = 200;
/// Kubernetes gives a webhook 30 s at most, and v1's chart takes a tenth of a second off.
const TIMEOUT: Duration = Duration::from_millis(29_900);

/// What became of the rollout under one host.
struct Outcome {
    wrong: usize,
    counts: Counts,
    time: Duration,
}

impl Outcome {
    fn wasted(&self) -> f64 {
        let Counts { served, refused, .. } = self.counts;
        100.0 * refused as f64 / (served + refused).max(1) as f64
    }
}

/// Lets both hosts answer about each image once, in turn. Every image deserves a yes.
///
/// # Errors
/// When a server does not run.
pub(super) fn measure(
    programs: &Both<'_>,
    folder: &Folder,
    rounds: &Rounds,
) -> Result<Vec<Figure>> {
    let registry = Registry::with_limit(programs.tool("registry-referrers")?, REQUESTS_PER_SECOND)?;
    let images = images::push(registry.address(), rounds.images, 1)?;
    let (ours, v1) = (programs.sample, programs.tool("v1-sample-oras")?);
    let plugins = Plugins { kind: "sample", ours, v1 };
    let hosts = [("ours", programs.ratify), ("v1.4.0", programs.v1)];
    let hosts = hosts.map(|(name, program)| Host { name, program });
    let [mut ours, mut v1] = [Vec::new(), Vec::new()];
    for round in 1..=rounds.throttled {
        for ((host, plugin), outcomes) in
            hosts.into_iter().zip(plugins.each()).zip([&mut ours, &mut v1])
        {
            let outcome = roll_out(host, plugin, &registry, &images, folder)
                .with_context(|| format!("a rollout under {}", host.name))?;
            say(&format!(
                "{} images, {REQUESTS_PER_SECOND} requests a second, round {round}, {}: {:?}, {} \
                 wrong denials, {:.1} s",
                images.len(),
                host.name,
                outcome.counts,
                outcome.wrong,
                outcome.time.as_secs_f64()
            ));
            outcomes.push(outcome);
        }
    }
    Ok(figures(&ours, &v1))
}

fn roll_out(
    host: Host<'_>,
    plugin: Plugin<'_>,
    registry: &Registry,
    images: &[String],
    folder: &Folder,
) -> Result<Outcome> {
    let server = Server::start_with(host, plugin, &folder.fresh(Home::Disk)?, TIMEOUT)?;
    // The registry's patience is whole again after a second, which this takes.
    server.settle()?;
    let before = registry.counts()?;
    let started = Instant::now();
    let answers = load::ask_all(&server, images, AT_ONCE)?;
    let time = started.elapsed();
    server.settle()?;
    let counts = registry.counts()?.since(before);
    let wrong: Vec<String> = answers.iter().filter_map(load::denial).collect();
    if let Some(first) = wrong.first() {
        say(&format!("{} denies, for one: {first}", host.name));
    }
    if counts.served == 0 {
        bail!("the registry was not asked; the log is {}", load::keep(&server)?);
    }
    Ok(Outcome { wrong: wrong.len(), counts, time })
}

fn figures(ours: &[Outcome], v1: &[Outcome]) -> Vec<Figure> {
    let figure = |name, unit, target, value: fn(&Outcome) -> f64| Figure {
        name,
        unit,
        target,
        judged: Judged::Worst,
        ours: ours.iter().map(value).collect(),
        v1: v1.iter().map(value).collect(),
        shown: Shown::Everywhere,
    };
    vec![
        figure(
            "500 images of a registry that serves 50 requests a second: wrong denials, worst run",
            Unit::Count,
            Target::AtMost(0.0),
            |one| one.wrong as f64,
        ),
        figure(
            "the same: requests that were refused, worst run",
            Unit::Percent,
            Target::AtMost(2.0),
            Outcome::wasted,
        ),
        figure("the same: requests, worst run", Unit::Count, Target::None, |one| {
            (one.counts.served + one.counts.refused) as f64
        }),
        figure("the same: time, worst run", Unit::Seconds, Target::None, |one| {
            one.time.as_secs_f64()
        }),
    ]
}
