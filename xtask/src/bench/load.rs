//! Forty images, asked about at the server's door, four at a time, one key a request: what
//! Gatekeeper does when a cluster rolls out.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use super::folder::{Folder, Home, Place};
use super::proc;
use super::say;
use super::server::{Host, Plugin, Server};

/// How many requests are under way at a time.
const CONCURRENCY: usize = 4;

/// One kind of load.
pub(super) struct Load<'a> {
    pub(super) plugins: &'a Plugins<'a>,
    pub(super) home: Home,
    pub(super) rounds: usize,
    /// What is wanted of the CPU time.
    pub(super) cpu: Target,
    /// How the figures are called: CPU time, time, wrong denials, memory.
    pub(super) names: [&'static str; 4],
}

/// The plugin that each host runs.
pub(super) struct Plugins<'a> {
    pub(super) kind: &'static str,
    pub(super) ours: &'a Path,
    pub(super) v1: &'a Path,
}

impl Plugins<'_> {
    /// In the order of the hosts: ours, v1's.
    pub(super) fn each(&self) -> [Plugin<'_>; 2] {
        [self.ours, self.v1].map(|program| Plugin { kind: self.kind, program })
    }
}

/// What one host made of the load.
struct Outcome {
    cpu: Duration,
    wall: Duration,
    wrong: usize,
    resident: u64,
}

/// Lets both hosts answer the whole load in turn. Every image deserves a yes.
///
/// # Errors
/// When a server does not run.
pub(super) fn measure(
    hosts: [Host<'_>; 2],
    load: &Load<'_>,
    images: &[String],
    folder: &Folder,
) -> Result<Vec<Figure>> {
    let [mut ours, mut v1] = [Vec::new(), Vec::new()];
    for round in 1..=load.rounds {
        for ((host, plugin), outcomes) in
            hosts.into_iter().zip(load.plugins.each()).zip([&mut ours, &mut v1])
        {
            let outcome = run(host, plugin, images, &folder.fresh(load.home)?)
                .with_context(|| format!("the load under {}", host.name))?;
            say(&format!(
                "load with {}, home in {:?}, round {round}, {}: {:.2} s CPU, {:.2} s, {} wrong denials",
                plugin.kind,
                load.home,
                host.name,
                outcome.cpu.as_secs_f64(),
                outcome.wall.as_secs_f64(),
                outcome.wrong
            ));
            outcomes.push(outcome);
        }
    }
    Ok(figures(load, &ours, &v1))
}

fn figures(load: &Load<'_>, ours: &[Outcome], v1: &[Outcome]) -> Vec<Figure> {
    let [cpu, wall, wrong, resident] = load.names;
    let series = |value: fn(&Outcome) -> f64| {
        (ours.iter().map(value).collect::<Series>(), v1.iter().map(value).collect::<Series>())
    };
    let figure = |name, unit, target, judged, (ours, v1)| {
        let shown = Shown::Everywhere;
        Figure { name, unit, target, judged, ours, v1, shown }
    };
    let seconds = Unit::Seconds;
    vec![
        figure(cpu, seconds, load.cpu, Judged::Median, series(|one| one.cpu.as_secs_f64())),
        figure(wall, seconds, Target::None, Judged::Median, series(|one| one.wall.as_secs_f64())),
        figure(
            wrong,
            Unit::Count,
            Target::AtMost(0.0),
            Judged::Worst,
            series(|one| one.wrong as f64),
        ),
        figure(
            resident,
            Unit::Mebibytes,
            Target::None,
            Judged::Median,
            series(|one| one.resident as f64 / 1024.0),
        ),
    ]
}

fn run(host: Host<'_>, plugin: Plugin<'_>, images: &[String], place: &Place) -> Result<Outcome> {
    let server = Server::start(host, plugin, place)?;
    server.settle()?;
    let before = server.cpu()?;
    let started = Instant::now();
    let answers = ask_all(&server, images, CONCURRENCY)?;
    let wall = started.elapsed();
    server.settle()?;
    let after = server.cpu()?;
    let wrong: Vec<String> = answers.iter().filter_map(denial).collect();
    if let Some(first) = wrong.first() {
        say(&format!("{} denies, for one: {first}", host.name));
    }
    if wrong.len() == images.len() {
        bail!("every image is denied; the log is {}", keep(&server)?);
    }
    Ok(Outcome {
        cpu: (after.own + after.children) - (before.own + before.children),
        wall,
        wrong: wrong.len(),
        resident: proc::memory(server.id())?.resident,
    })
}

/// Asks about every image once, so many at a time.
///
/// # Errors
/// When one is not answered.
pub(super) fn ask_all(server: &Server, images: &[String], at_once: usize) -> Result<Vec<Value>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    let ask_until_done = || -> Result<()> {
        while let Some(image) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
            let answer = server.ask(image)?;
            if let Ok(mut answers) = answers.lock() {
                answers.push(answer);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(ask_until_done)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread that asks has panicked"),
        })
    })?;
    let answers = answers.into_inner().unwrap_or_default();
    if answers.len() != images.len() {
        bail!("{} of {} images were answered", answers.len(), images.len());
    }
    Ok(answers)
}

/// Why an answer is no yes, in one line.
pub(super) fn denial(answer: &Value) -> Option<String> {
    let item = &answer["response"]["items"][0];
    if item["value"]["isSuccess"] == true && item.get("error").is_none() {
        return None;
    }
    let failed = item["value"]["verifierReports"].as_array().and_then(|reports| {
        reports.iter().find(|report| report["isSuccess"] == false).map(Value::to_string)
    });
    let reason = failed.unwrap_or_else(|| answer["response"].to_string());
    Some(reason.chars().take(400).collect())
}

/// Saves the server's log from the end of the run.
///
/// # Errors
/// When it cannot be copied.
pub(super) fn keep(server: &Server) -> Result<String> {
    let kept = std::env::temp_dir().join(format!("ratify-bench-{}.log", server.id()));
    std::fs::copy(server.log(), &kept).context("cannot save the server's log")?;
    Ok(kept.display().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_plain_yes_is_no_denial() {
        let answer = |item: Value| json!({"response": {"items": [item]}});
        assert_eq!(denial(&answer(json!({"key": "x", "value": {"isSuccess": true}}))), None);
        let reports = json!([{"isSuccess": true}, {"isSuccess": false, "message": "why"}]);
        let no = answer(json!({"value": {"isSuccess": false, "verifierReports": reports}}));
        assert_eq!(denial(&no).unwrap(), r#"{"isSuccess":false,"message":"why"}"#);
        assert!(denial(&answer(json!({"value": {"isSuccess": true}, "error": "e"}))).is_some());
        assert!(denial(&json!({"response": {"systemError": "late"}})).unwrap().contains("late"));
    }
}
