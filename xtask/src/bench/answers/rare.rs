//! What an answer costs whose verdict is kept and that is asked for rarely: where nothing is warm, and
//! whatever the server does meanwhile is in it.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bench::build::Both;
use crate::bench::figures::{Figure, Judged, Series, Shown, Target, Unit};
use crate::bench::folder::{Folder, Home};
use crate::bench::images;
use crate::bench::load::{self, Plugins};
use crate::bench::proc;
use crate::bench::registry::Registry;
use crate::bench::say;
use crate::bench::server::{Host, Plugin, Server};

/// How long nobody asks: what is looked at once a second has been due meanwhile.
const PAUSE: Duration = Duration::from_millis(1_100);
/// How many answers a reading is the mean of.
const ANSWERS: u32 = 10;
const TIMEOUT: Duration = Duration::from_millis(4_900);
const NAME: &str = "cached answer, asked for once in 1.1 s: CPU, with what goes on meanwhile";

/// Lets ours and v1's answer in turn.
///
/// # Errors
/// When a server does not run, or an answer is no yes or is not kept.
pub(super) fn measure(programs: &Both<'_>, folder: &Folder, rounds: usize) -> Result<Vec<Figure>> {
    let registry = Registry::start(programs.tool("registry-referrers")?)?;
    let images = images::push_by_digest(registry.address(), 1, 1)?;
    let (ours, v1) = (programs.sample, programs.tool("v1-sample-oras")?);
    let plugins = Plugins { kind: "sample", ours, v1 };
    let hosts = [("ours", programs.ratify), ("v1.4.0", programs.v1)];
    let hosts = hosts.map(|(name, program)| Host { name, program });
    let mut costs = [Series::default(), Series::default()];
    for _ in 0..rounds {
        for ((host, plugin), costs) in hosts.into_iter().zip(plugins.each()).zip(&mut costs) {
            let cost = cost(host, plugin, &images[0], folder)?;
            say(&format!("{NAME}: {} {cost:.1} µs", host.name));
            costs.push(cost);
        }
    }
    let [ours, v1] = costs;
    Ok(vec![Figure {
        name: NAME,
        unit: Unit::Microseconds,
        target: Target::None,
        judged: Judged::Median,
        ours,
        v1,
        shown: Shown::InDocument,
    }])
}

/// Microseconds of a server's CPU an answer.
fn cost(host: Host<'_>, plugin: Plugin<'_>, image: &str, folder: &Folder) -> Result<f64> {
    let place = folder.fresh(Home::Disk)?;
    let arguments = ["--cache-enabled".to_owned(), "--cache-ttl=1h".to_owned()];
    let server = Server::start_as(host, plugin, &place, TIMEOUT, &arguments)?;
    // v1 keeps what it was asked for a moment later.
    server.ask(image)?;
    server.settle()?;
    let plugins_before = server.cpu()?.children;
    let mut took = Duration::ZERO;
    for _ in 0..ANSWERS {
        let before = proc::run_times(server.id())?;
        let answer = server.ask(image)?;
        thread::sleep(PAUSE);
        took += proc::run_times(server.id())?.since(&before);
        let denial = load::denial(&answer);
        ensure!(denial.is_none(), "{} denies: {denial:?}", host.name);
    }
    let is_kept = server.cpu()?.children == plugins_before;
    ensure!(is_kept, "a plugin ran; the log is {}", load::keep(&server)?);
    Ok((took / ANSWERS).as_secs_f64() * 1e6)
}
