//! What a server costs before anyone asks it anything: the time until it answers, and its memory.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use super::folder::{Folder, Home};
use super::load::Plugins;
use super::proc;
use super::say;
use super::server::{Host, Server};

/// A server is idle when it has answered for the first time and this long has passed.
const REST: Duration = Duration::from_secs(2);

/// From spawn to the first HTTP answer.
///
/// # Errors
/// When a server does not start.
pub(super) fn ready(
    hosts: [Host<'_>; 2],
    plugins: &Plugins<'_>,
    folder: &Folder,
    rounds: usize,
) -> Result<Vec<Figure>> {
    let mut series = [Series::default(), Series::default()];
    for _ in 0..rounds {
        for ((host, plugin), series) in hosts.into_iter().zip(plugins.each()).zip(&mut series) {
            let server = Server::start(host, plugin, &folder.fresh(Home::Disk)?)?;
            series.push(server.ready_after.as_secs_f64() * 1e3);
        }
    }
    let [ours, v1] = series;
    say(&format!("ready: ours {:.0} ms, v1.4.0 {:.0} ms", ours.median(), v1.median()));
    Ok(vec![Figure {
        name: "`ratify serve`: start to first answer",
        unit: Unit::Milliseconds,
        target: Target::OfV1(0.6),
        judged: Judged::Median,
        ours,
        v1,
        shown: Shown::Everywhere,
    }])
}

/// Memory of a server that has nothing to do.
///
/// # Errors
/// When a server does not start.
pub(super) fn idle(
    hosts: [Host<'_>; 2],
    plugins: &Plugins<'_>,
    folder: &Folder,
    rounds: usize,
) -> Result<Vec<Figure>> {
    let mut resident = [Series::default(), Series::default()];
    let mut proportional = [Series::default(), Series::default()];
    for _ in 0..rounds {
        for (index, (host, plugin)) in hosts.into_iter().zip(plugins.each()).enumerate() {
            let server = Server::start(host, plugin, &folder.fresh(Home::Disk)?)?;
            thread::sleep(REST);
            let memory = proc::memory(server.id())?;
            resident[index].push(memory.resident as f64 / 1024.0);
            if let Some(pss) = memory.proportional {
                proportional[index].push(pss as f64 / 1024.0);
            }
        }
    }
    let mut figures =
        vec![figure("`ratify serve`: idle memory (RSS)", Target::AtMost(10.0), resident)];
    if proportional.iter().all(|series| !series.is_empty()) {
        figures.push(figure("`ratify serve`: idle memory (PSS)", Target::None, proportional));
    }
    Ok(figures)
}

fn figure(name: &'static str, target: Target, [ours, v1]: [Series; 2]) -> Figure {
    let (judged, shown) = (Judged::Median, Shown::Everywhere);
    Figure { name, unit: Unit::Mebibytes, target, judged, ours, v1, shown }
}
