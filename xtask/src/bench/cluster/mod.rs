//! The controller beside v1.4.0 on one API server: how soon a plugin that a custom resource names is
//! active, what a restart pulls, what a thousand verifiers cost, and how soon it ends.

mod api;
mod controller;

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::build::Both;
use super::certificates::Certificates;
use super::distribution::Distribution;
use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use super::folder::{Folder, Home};
use super::proc;
use super::say;
use super::server::{Host, put};
use crate::workspace::Platform;
use api::{Api, Machines, POLICY, STORE, VERIFIER};
use controller::Controller;

/// How many verifiers are many.
const MANY: usize = 1_000;
/// A controller that has just started is left alone for this long.
const REST: Duration = Duration::from_secs(1);
/// How long a restarted controller is watched after it said that its verifier is in force.
const AFTER_RESTART: Duration = Duration::from_secs(2);

/// How often each thing is measured.
pub(super) struct Rounds {
    pub(super) active: usize,
    pub(super) many: usize,
    pub(super) end: usize,
}

/// What both run on.
pub(super) struct Site<'a> {
    api: &'a Api,
    certificates: &'a Certificates,
}

/// Measures everything.
///
/// # Errors
/// When something does not start, or never becomes active.
pub(super) fn measure(
    programs: &Both<'_>,
    folder: &Folder,
    rounds: &Rounds,
) -> Result<Vec<Figure>> {
    let tool = |name: &str| programs.tool(name);
    let place = folder.fresh(Home::Disk)?.folder;
    let certificates = Certificates::make(tool("openssl")?, &place)?;
    let registry = Distribution::start(tool("registry")?, Some(&certificates), &place)?;
    let (etcd, api_server) = (tool("etcd")?, tool("kube-apiserver")?);
    let kubectl = tool("kubectl")?;
    say("start one API server for both");
    let api = Api::start(&Machines { etcd, api_server, kubectl }, &certificates, &place)?;
    api.define(programs.ratify, kubectl)?;
    let rule = json!({"artifactVerificationPolicies": {"default": "all"}});
    api.create(&POLICY, "ratify-policy", &json!({"type": "config-policy", "parameters": rule}))?;
    api.create(&STORE, "store-oras", &json!({"name": "oras", "parameters": {"useHttp": true}}))?;

    let go = tool("v1-sample-oras")?;
    let site = Site { api: &api, certificates: &certificates };
    let bench = Bench {
        ours: Host { name: "ours", program: programs.ratify },
        v1: Host { name: "v1.4.0", program: programs.v1 },
        in_go: registry.push_by_oras(tool("oras")?, go, "go")?,
        in_rust: {
            let platform = Platform::of_this_machine()?.to_string();
            registry.push_by_ratify(programs.ratify, programs.sample, "rust", &platform)?
        },
        plugins: [programs.sample, go],
        site,
        registry: &registry,
        folder,
    };
    let mut figures = bench.active(rounds.active)?;
    figures.extend(bench.many(rounds.many)?);
    figures.push(bench.end(rounds.end)?);
    Ok(figures)
}

struct Bench<'a> {
    ours: Host<'a>,
    v1: Host<'a>,
    /// The reference of the sample plugin in Go, as the guide of v1.4.0 pushes one.
    in_go: String,
    /// The reference of ours, by `ratify plugin push`.
    in_rust: String,
    /// The programs: ours, v1's.
    plugins: [&'a Path; 2],
    site: Site<'a>,
    registry: &'a Distribution,
    folder: &'a Folder,
}

impl Bench<'_> {
    /// From the creation of a verifier with a source until its status says that it is in force, and
    /// what is pulled when the process starts again.
    fn active(&self, rounds: usize) -> Result<Vec<Figure>> {
        let cases = [(self.ours, &self.in_go), (self.v1, &self.in_go), (self.ours, &self.in_rust)];
        let [mut times, mut pulled] =
            [[(); 3].map(|()| Series::default()), [(); 3].map(|()| Series::default())];
        for round in 1..=rounds {
            for (case, (host, artifact)) in cases.into_iter().enumerate() {
                let (time, again) = self.activate(host, artifact)?;
                let milliseconds = time.as_secs_f64() * 1e3;
                say(&format!(
                    "{} runs {artifact}, round {round}: active after {milliseconds:.0} ms, {again} \
                     bytes pulled on a restart",
                    host.name
                ));
                times[case].push(milliseconds);
                pulled[case].push(again as f64);
            }
        }
        let [go, v1, rust] = times;
        let [again, v1_again, _] = pulled;
        let time = |name, share, ours, v1| Figure {
            name,
            unit: Unit::Milliseconds,
            target: Target::OfV1(share),
            judged: Judged::Median,
            ours,
            v1,
            shown: Shown::Everywhere,
        };
        Ok(vec![
            time("the same 44 MB Go plugin, apply to active", 1.2, go, v1.clone()),
            time("each its own sample plugin, apply to active", 1.0 / 3.0, rust, v1),
            Figure {
                name: "44 MB Go plugin: pulled on a restart, volume kept, worst run",
                unit: Unit::Bytes,
                target: Target::AtMost(0.0),
                judged: Judged::Worst,
                ours: again,
                v1: v1_again,
                shown: Shown::Everywhere,
            },
        ])
    }

    fn activate(&self, host: Host<'_>, artifact: &str) -> Result<(Duration, u64)> {
        let home = self.folder.fresh(Home::Disk)?.home;
        let mut controller = Controller::start(host, &self.site, &home)?;
        controller.until_it_listens()?;
        thread::sleep(REST);
        controller.is_alive()?;
        let api = self.site.api;
        let mut watch = api.watch(&VERIFIER)?;
        let spec =
            json!({"name": "sample", "artifactTypes": "*", "source": {"artifact": artifact}});
        let started = Instant::now();
        api.create(&VERIFIER, "verifier-dynamic", &spec)?;
        while !is_active(&watch.next()?) {}
        let time = started.elapsed();

        // v1.4.0 pulls again after it has written the status: that has to end first.
        thread::sleep(AFTER_RESTART);
        drop(controller);
        let before = self.registry.sent()?;
        let mut controller = Controller::start(host, &self.site, &home)?;
        controller.until_it_says("verifier 'verifier-dynamic' added to verifier map")?;
        thread::sleep(AFTER_RESTART);
        controller.is_alive()?;
        let pulled = self.registry.sent()? - before;
        drop(controller);
        api.delete_all(&VERIFIER)?;
        fs::remove_dir_all(home)?;
        Ok((time, pulled))
    }

    /// From the start until the status of each of a thousand verifiers is written, and the memory
    /// that this took.
    fn many(&self, rounds: usize) -> Result<Vec<Figure>> {
        let [mut times, mut most, mut resident] =
            [(); 3].map(|()| [Series::default(), Series::default()]);
        for round in 1..=rounds {
            for (case, host) in [self.ours, self.v1].into_iter().enumerate() {
                let home = self.folder.fresh(Home::Disk)?.home;
                fs::create_dir_all(home.join(".ratify/plugins"))?;
                put(self.plugins[case], &home.join(".ratify/plugins/sample"))?;
                let (time, memory) = self.write_all_statuses(host, &home)?;
                say(&format!(
                    "{MANY} verifiers, round {round}, {}: {:.2} s, {} KiB",
                    host.name,
                    time.as_secs_f64(),
                    memory.most
                ));
                times[case].push(time.as_secs_f64());
                most[case].push(memory.most as f64 / 1024.0);
                resident[case].push(memory.resident as f64 / 1024.0);
            }
        }
        let figure = |name, unit, [ours, v1]: [Series; 2]| Figure {
            name,
            unit,
            target: Target::OfV1(0.5),
            judged: Judged::Median,
            ours,
            v1,
            shown: Shown::Everywhere,
        };
        Ok(vec![
            figure("1,000 Verifiers: start to the last status", Unit::Seconds, times),
            figure("1,000 Verifiers: most memory (VmHWM)", Unit::Mebibytes, most),
            figure("1,000 Verifiers: memory then (RSS)", Unit::Mebibytes, resident),
        ])
    }

    fn write_all_statuses(&self, host: Host<'_>, home: &Path) -> Result<(Duration, proc::Memory)> {
        let api = self.site.api;
        for number in 0..MANY {
            let spec = json!({
                "name": "sample", "artifactTypes": "application/vnd.example.none",
                "parameters": {"number": number},
            });
            api.create(&VERIFIER, &format!("verifier-{number:04}"), &spec)?;
        }
        let mut watch = api.watch(&VERIFIER)?;
        let started = Instant::now();
        let mut controller = Controller::start(host, &self.site, home)?;
        let mut written = HashSet::new();
        while written.len() < MANY {
            let object = watch.next().or_else(|error| controller.is_alive().and(Err(error)))?;
            if is_active(&object) {
                written.insert(object["metadata"]["name"].to_string());
            }
        }
        let time = started.elapsed();
        let memory = proc::memory(controller.id())?;
        drop(controller);
        api.delete_all(&VERIFIER)?;
        Ok((time, memory))
    }

    /// From the last answer until the process has ended, by SIGTERM.
    fn end(&self, rounds: usize) -> Result<Figure> {
        // It accepts connections and says nothing: a question about it takes as long as it may.
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let image = format!("{}/app:v1", silent.local_addr()?);
        let mut series = [Series::default(), Series::default()];
        let spec = json!({"name": "sample", "artifactTypes": "*"});
        self.site.api.create(&VERIFIER, "verifier", &spec)?;
        for _ in 0..rounds {
            for (case, host) in [self.ours, self.v1].into_iter().enumerate() {
                let home = self.folder.fresh(Home::Disk)?.home;
                fs::create_dir_all(home.join(".ratify/plugins"))?;
                put(self.plugins[case], &home.join(".ratify/plugins/sample"))?;
                let mut controller = Controller::start(host, &self.site, &home)?;
                controller.until_it_listens()?;
                controller.until_it_says("verifier 'verifier' added to verifier map")?;
                thread::sleep(REST);
                let time = controller.end_while_asked_about(&image)?;
                say(&format!("{} ended {:.3} s after its answer", host.name, time.as_secs_f64()));
                series[case].push(time.as_secs_f64() * 1e3);
            }
        }
        self.site.api.delete_all(&VERIFIER)?;
        let [ours, v1] = series;
        Ok(Figure {
            name: "SIGTERM while a question is open: last answer to the end, worst run",
            unit: Unit::Milliseconds,
            target: Target::AtMost(1_000.0),
            judged: Judged::Worst,
            ours,
            v1,
            shown: Shown::Everywhere,
        })
    }
}

fn is_active(object: &Value) -> bool {
    object["status"]["issuccess"] == true
}
