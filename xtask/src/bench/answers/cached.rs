//! What an answer costs whose verdict is kept: one and the same question, again and again, over
//! connections that stay open, by v1.4.0, by ours, and by a bare handler on the same HTTP stack that
//! parses the question and returns the bytes that ours answered. All of them log at level info.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use crate::bench::build::{self, Both};
use crate::bench::certificates::Certificates;
use crate::bench::figures::{Figure, Judged, Series, Shown, Target, Unit};
use crate::bench::folder::{Folder, Home, Place};
use crate::bench::http::{self, Request};
use crate::bench::images;
use crate::bench::load::{self, Plugins};
use crate::bench::proc;
use crate::bench::registry::{Registry, end};
use crate::bench::say;
use crate::bench::server::{self, Host, Plugin, Server};

/// How many connections are open.
const CONNECTIONS: usize = 4;
/// How many images there are.
const IMAGES: usize = 10;
/// How many answers are measured: enough for a clock that counts hundredths of a second.
const ANSWERS: usize = 100_000;
/// v1's cost more each.
const ANSWERS_OF_V1: usize = 20_000;
const TIMEOUT: Duration = Duration::from_millis(4_900);
const START_LIMIT: Duration = Duration::from_secs(10);

/// One kind of question.
struct Case {
    keys: usize,
    is_tls: bool,
    names: [&'static str; 3],
}

const CASES: [Case; 4] = [
    Case {
        keys: 1,
        is_tls: false,
        names: [
            "cached answer, by digest, in clear: CPU",
            "the same as a bare handler of the same stack does it: requests per CPU second",
            "the same: CPU of the bare handler",
        ],
    },
    Case {
        keys: 10,
        is_tls: false,
        names: [
            "cached answer to 10 keys, in clear: CPU",
            "10 keys, of the requests per CPU second of a bare handler",
            "10 keys: CPU of the bare handler",
        ],
    },
    Case {
        keys: 1,
        is_tls: true,
        names: [
            "cached answer, mutual TLS: CPU",
            "mutual TLS, of the requests per CPU second of a bare handler",
            "mutual TLS: CPU of the bare handler",
        ],
    },
    Case {
        keys: 10,
        is_tls: true,
        names: [
            "cached answer to 10 keys, mutual TLS: CPU",
            "10 keys, mutual TLS, of the requests per CPU second of a bare handler",
            "10 keys, mutual TLS: CPU of the bare handler",
        ],
    },
];

/// What everything is measured with.
struct Bench<'a> {
    yardstick: PathBuf,
    hosts: [Host<'a>; 2],
    plugins: Plugins<'a>,
    certificates: Certificates,
    images: Vec<String>,
    folder: &'a Folder,
}

/// Microseconds of CPU an answer.
#[derive(Default)]
struct Costs {
    ours: Series,
    v1: Series,
    bare: Series,
    share: Series,
}

/// Lets ours, v1's and the bare handler answer in turn.
///
/// # Errors
/// When a server does not run, or an answer is no yes.
pub(super) fn measure(programs: &Both<'_>, folder: &Folder, rounds: usize) -> Result<Vec<Figure>> {
    let registry = Registry::start(programs.tool("registry-referrers")?)?;
    let place = folder.fresh(Home::Disk)?;
    let hosts = [("ours", programs.ratify), ("v1.4.0", programs.v1)];
    let bench = Bench {
        yardstick: build::yardstick()?,
        hosts: hosts.map(|(name, program)| Host { name, program }),
        plugins: Plugins {
            kind: "sample",
            ours: programs.sample,
            v1: programs.tool("v1-sample-oras")?,
        },
        certificates: Certificates::make(programs.tool("openssl")?, &place.folder)?,
        images: images::push_by_digest(registry.address(), IMAGES, 1)?,
        folder,
    };
    let mut figures = Vec::new();
    for case in &CASES {
        let mut costs = Costs::default();
        for round in 1..=rounds {
            bench.round(case, &mut costs).with_context(|| case.names[0])?;
            say(&format!(
                "{}, round {round}: ours {:.1} µs, v1.4.0 {:.1} µs, bare {:.1} µs",
                case.names[0],
                costs.ours.median(),
                costs.v1.median(),
                costs.bare.median()
            ));
        }
        figures.extend(costs.figures(case));
    }
    Ok(figures)
}

impl Costs {
    fn figures(self, case: &Case) -> [Figure; 3] {
        let [cost, share, bare] = case.names;
        let figure = |name, unit, target, ours, v1| Figure {
            name,
            unit,
            target,
            judged: Judged::Median,
            ours,
            v1,
            shown: Shown::Everywhere,
        };
        let (micro, none) = (Unit::Microseconds, Series::default());
        [
            figure(cost, micro, Target::OfV1(1.0 / 8.0), self.ours, self.v1),
            figure(share, Unit::Percent, Target::AtLeast(70.0), self.share, none.clone()),
            figure(bare, micro, Target::None, self.bare, none),
        ]
    }
}

impl Bench<'_> {
    fn round(&self, case: &Case, costs: &mut Costs) -> Result<()> {
        let place = self.folder.fresh(Home::Disk)?;
        let question = place.folder.join("question.json");
        let body = json!({
            "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
            "kind": "ProviderRequest",
            "request": {"keys": self.images[..case.keys]},
        });
        let body = body.to_string();
        fs::write(&question, &body)?;
        let [our_plugin, v1_plugin] = self.plugins.each();
        let [our_host, v1_host] = self.hosts;
        let (ours, answer) = self.cost(case, our_host, our_plugin, ANSWERS, (&question, &body))?;
        let (v1, _) = self.cost(case, v1_host, v1_plugin, ANSWERS_OF_V1, (&question, &body))?;
        let bare = self.cost_of_bare(case, &place, &question, &answer)?;
        costs.ours.push(ours);
        costs.v1.push(v1);
        costs.bare.push(bare);
        costs.share.push(100.0 * bare / ours);
        Ok(())
    }

    /// What a server's answer costs, and what it answers.
    fn cost(
        &self,
        case: &Case,
        host: Host<'_>,
        plugin: Plugin<'_>,
        answers: usize,
        (question, body): (&Path, &str),
    ) -> Result<(f64, Vec<u8>)> {
        let place = self.folder.fresh(Home::Disk)?;
        let mut arguments = vec!["--cache-enabled".to_owned(), "--cache-ttl=1h".to_owned()];
        if case.is_tls {
            arguments.extend(self.tls_arguments(&place)?);
        }
        let server = Server::start_as(host, plugin, &place, TIMEOUT, &arguments)?;
        // v1 keeps what it was asked for a moment later.
        self.ask(case, server.address(), question, 10)?;
        server.settle()?;
        let answer = match case.is_tls {
            true => Vec::new(),
            false => answer_to(server.address(), body)?,
        };
        let before = server.cpu()?;
        self.ask(case, server.address(), question, answers)?;
        let after = server.cpu()?;
        let asked = after.children == before.children;
        ensure!(asked, "a plugin ran; the log is {}", load::keep(&server)?);
        Ok(((after.own - before.own).as_secs_f64() * 1e6 / answers as f64, answer))
    }

    fn cost_of_bare(
        &self,
        case: &Case,
        place: &Place,
        question: &Path,
        answer: &[u8],
    ) -> Result<f64> {
        // Over TLS the answer is the one of before, which has the same length.
        let file = self.folder.path().join(format!("answer-{}", case.keys));
        if !case.is_tls {
            fs::write(&file, answer)?;
        }
        let address = server::free_address()?;
        let mut command = Command::new(&self.yardstick);
        command.arg("bare").arg(address.to_string()).arg(&file);
        if case.is_tls {
            let authority = self.certificates.authority();
            command.args([self.certificates.certificate(), self.certificates.key(), authority]);
        }
        let log = fs::File::create(place.folder.join("bare.log"))?;
        let bare = Bare(command.stdin(Stdio::null()).stderr(log).spawn()?);
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            ensure!(started.elapsed() < START_LIMIT, "the bare handler does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        self.ask(case, address, question, 10)?;
        let id = bare.0.id().to_string();
        let before = proc::cpu(&id)?;
        self.ask(case, address, question, ANSWERS)?;
        let after = proc::cpu(&id)?;
        Ok((after.own - before.own).as_secs_f64() * 1e6 / ANSWERS as f64)
    }

    /// Asks so often; every answer must be a yes to every key.
    fn ask(&self, case: &Case, server: SocketAddr, question: &Path, count: usize) -> Result<()> {
        let mut command = Command::new(&self.yardstick);
        command.arg("ask").arg(server.to_string()).arg(question);
        command.args([CONNECTIONS, count, case.keys].map(|number| number.to_string()));
        if case.is_tls {
            let authority = self.certificates.authority();
            command.args([authority, self.certificates.certificate(), self.certificates.key()]);
        }
        let output = command.stdin(Stdio::null()).output()?;
        let (wrong, why) = (output.stdout.trim_ascii(), String::from_utf8_lossy(&output.stderr));
        match (output.status.success(), wrong) {
            (true, b"0") => Ok(()),
            (true, wrong) => bail!("{} wrong answers", String::from_utf8_lossy(wrong)),
            (false, _) => bail!("who asks ended: {why}"),
        }
    }

    fn tls_arguments(&self, place: &Place) -> Result<[String; 2]> {
        let folder = place.folder.join("certificates");
        fs::create_dir_all(&folder)?;
        fs::copy(self.certificates.certificate(), folder.join("tls.crt"))?;
        fs::copy(self.certificates.key(), folder.join("tls.key"))?;
        let authority = self.certificates.authority();
        Ok([
            format!("--cert-dir={}", folder.display()),
            format!("--ca-cert-file={}", authority.display()),
        ])
    }
}

/// The bare handler; it ends with this value.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn answer_to(server: SocketAddr, body: &str) -> Result<Vec<u8>> {
    let question = Request {
        method: "POST",
        path: "/ratify/gatekeeper/v1/verify",
        content_type: "application/json",
        body: body.as_bytes(),
    };
    Ok(http::send(server, &question)?.body)
}
