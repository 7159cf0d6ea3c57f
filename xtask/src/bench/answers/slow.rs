//! A registry that takes its time before every answer, and a burst of questions about few images:
//! how many answers are late or wrong, and how often the same thing is fetched.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::bench::build::Both;
use crate::bench::figures::{Figure, Judged, Series, Shown, Target, Unit};
use crate::bench::folder::{Folder, Home};
use crate::bench::images::{self, ARTIFACTS};
use crate::bench::load::{self, Plugins};
use crate::bench::registry::{Counts, Registry};
use crate::bench::say;
use crate::bench::server::{Host, Plugin, Server};

/// How long the registry waits before each answer.
const DELAY: Duration = Duration::from_millis(200);
/// v1's chart gives Gatekeeper's question this long.
const TIMEOUT: Duration = Duration::from_millis(4_900);

/// What is asked of a registry.
struct Case {
    images: usize,
    /// How often each image is asked about.
    times: usize,
    at_once: usize,
    delay: Duration,
    /// Wrong answers; most reads of one thing.
    names: [&'static str; 2],
    most: Target,
}

const CASES: [Case; 2] = [
    Case {
        images: 40,
        times: 1,
        at_once: 4,
        delay: DELAY,
        names: [
            "a registry 200 ms late with every answer, 40 images × 5 artifacts: late or wrong answers, worst run",
            "the same: most reads of one manifest",
        ],
        most: Target::AtMost(1.0),
    },
    Case {
        images: 10,
        times: 200,
        at_once: 200,
        delay: Duration::from_millis(50),
        names: [
            "2,000 requests at once for 10 images × 5 artifacts: late or wrong answers, worst run",
            "the same: most reads of one manifest",
        ],
        most: Target::AtMost(1.0),
    },
];

/// Lets both hosts answer in turn. Every image deserves a yes.
///
/// # Errors
/// When a server does not run.
pub(super) fn measure(programs: &Both<'_>, folder: &Folder, rounds: usize) -> Result<Vec<Figure>> {
    let (ours, v1) = (programs.sample, programs.tool("v1-sample-oras")?);
    let plugins = Plugins { kind: "sample", ours, v1 };
    let hosts = [("ours", programs.ratify), ("v1.4.0", programs.v1)];
    let hosts = hosts.map(|(name, program)| Host { name, program });
    let mut figures = Vec::new();
    for case in &CASES {
        let mut wrong = [Series::default(), Series::default()];
        let mut most = [Series::default(), Series::default()];
        for _ in 0..rounds {
            for (index, (host, plugin)) in hosts.into_iter().zip(plugins.each()).enumerate() {
                let program = programs.tool("registry-referrers")?;
                let (late, counts) = run(case, host, plugin, program, folder)
                    .with_context(|| format!("{} under {}", case.names[0], host.name))?;
                wrong[index].push(late as f64);
                most[index].push(counts.most as f64);
            }
        }
        let figure = |name, target, [ours, v1]: [Series; 2]| Figure {
            name,
            unit: Unit::Count,
            target,
            judged: Judged::Worst,
            ours,
            v1,
            shown: Shown::Everywhere,
        };
        let [of_wrong, of_most] = case.names;
        figures.push(figure(of_wrong, Target::AtMost(0.0), wrong));
        figures.push(figure(of_most, case.most, most));
    }
    Ok(figures)
}

/// How many answers were no yes, and what was read.
fn run(
    case: &Case,
    host: Host<'_>,
    plugin: Plugin<'_>,
    registry: &std::path::Path,
    folder: &Folder,
) -> Result<(usize, Counts)> {
    let registry = Registry::with_delay(registry, case.delay)?;
    let images = images::push(registry.address(), case.images, ARTIFACTS)?;
    let asked: Vec<_> = (0..case.times).flat_map(|_| images.iter().cloned()).collect();
    let arguments = ["--cache-enabled".to_owned(), "--cache-ttl=1h".to_owned()];
    let place = folder.fresh(Home::Disk)?;
    let server = Server::start_as(host, plugin, &place, TIMEOUT, &arguments)?;
    server.settle()?;
    let before = registry.counts()?;
    let answers = load::ask_all(&server, &asked, case.at_once)?;
    server.settle()?;
    let counts = registry.counts()?.since(before);
    let wrong: Vec<String> = answers.iter().filter_map(load::denial).collect();
    say(&format!("{}, {}: {} wrong, {counts:?}", case.names[0], host.name, wrong.len()));
    if let Some(first) = wrong.first() {
        say(&format!("{} denies, for one: {first}", host.name));
    }
    if counts.served == 0 {
        bail!("the registry was not asked; the log is {}", load::keep(&server)?);
    }
    Ok((wrong.len(), counts))
}
