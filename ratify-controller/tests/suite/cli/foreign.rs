//! The main job on registries that are not ours, in clear and over TLS, one kind with a password;
//! and what foreign clients push and copy.

use tokio::process::Command;

use super::{Home, main_job::Place};
use crate::parity::machines::{Machines, PASSWORD, Server, USER};

/// A registry of someone else, and a home that can reach it.
struct Foreign {
    machines: Machines,
    server: Server,
    place: Place,
}

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// go-containerregistry's.
    WithReferrersApi,
    /// distribution's, with a password.
    WithTagSchema,
}

impl Foreign {
    /// `None`, said loudly, where the tools are missing or a name cannot be given.
    async fn start(kind: Kind, is_tls: bool) -> Option<Self> {
        let machines = Machines::find()?;
        let mut home = Home::new();
        home.allow_sources();
        let folder = home.path().join("registry");
        let server = match (kind, is_tls) {
            (Kind::WithReferrersApi, false) => machines.registry_with_api(None).await,
            (Kind::WithReferrersApi, true) => machines.registry_with_api(Some(&folder)).await,
            (Kind::WithTagSchema, false) => machines.registry_with_tags(&folder).await,
            (Kind::WithTagSchema, true) => machines.registry_with_tags_over_tls(&folder).await,
        };
        let mut place = Place { home, registry: server.address.clone(), is_tls };
        if is_tls {
            place.trust(&folder.join("ca.pem")).await.then_some(())?;
        }
        if kind == Kind::WithTagSchema {
            place.home.log_in(&place.registry, USER, PASSWORD);
        }
        Some(Self { machines, server, place })
    }

    /// Runs `oras` with the password, at the registry's address.
    async fn oras(&self, arguments: &[&str]) {
        let mut command = Command::new(self.machines.tool("oras"));
        command.args(arguments);
        let side = |flag: &str| -> Vec<String> {
            match arguments[0] {
                "cp" => ["from", "to"].map(|side| format!("--{side}-{flag}")).to_vec(),
                _ => vec![format!("--{flag}")],
            }
        };
        for flag in side("username") {
            command.args([&flag, USER]);
        }
        for flag in side("password") {
            command.args([&flag, PASSWORD]);
        }
        if self.place.is_tls {
            let ca = self.place.home.path().join("registry/ca.pem");
            for flag in side("ca-file") {
                command.arg(&flag).arg(&ca);
            }
        } else {
            command.args(side("plain-http"));
        }
        must(&self.place, &mut command).await;
    }

    /// Copies an image within the registry; skopeo knows nothing of what is attached.
    async fn skopeo(&self, from: &str, to: &str) {
        let mut command = Command::new(self.machines.tool("skopeo"));
        let credentials = format!("{USER}:{PASSWORD}");
        command.args(["copy", "--insecure-policy", "--src-creds", &credentials]);
        command.args(["--dest-creds", &credentials]);
        if !self.place.is_tls {
            command.args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
        }
        command.env("SSL_CERT_FILE", self.place.home.path().join("registry/ca.pem"));
        command.args([from, to].map(|name| format!("docker://{}/{name}", self.server.address)));
        must(&self.place, &mut command).await;
    }
}

async fn must(place: &Place, command: &mut Command) {
    let plugin = super::sample();
    command.current_dir(plugin.parent().unwrap()).env("HOME", place.home.path());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// The whole job on one registry.
async fn main_job(kind: Kind, is_tls: bool) {
    let Some(foreign) = Foreign::start(kind, is_tls).await else { return };
    let place = &foreign.place;
    let digest = place.fill().await;
    place.every_name_decides(&digest).await;

    // What v1's documentation tells plugin authors to do.
    let pushed = format!("{}/plugins/v1:1", foreign.server.address);
    let file = "./sample:application/vnd.oci.image.layer.v1.tar";
    foreign.oras(&["push", "--no-tty", &pushed, file]).await;
    place.configure(&format!("{}/plugins/v1:1", place.registry));
    let ran = place.home.verify(&place.image()).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);

    let (from, to) = (format!("{}/app:v1", foreign.server.address), "copied-with-everything:v1");
    let copy = format!("{}/{to}", foreign.server.address);
    foreign.oras(&["cp", "--recursive", "--no-tty", &from, &copy]).await;
    let ran = place.home.verify(&format!("{}/{to}", place.registry)).await;
    assert!(ran.is_success(), "{} {}", ran.stdout, ran.stderr);

    foreign.skopeo("app:v1", "copied-alone:v1").await;
    let ran = place.home.verify(&format!("{}/copied-alone:v1", place.registry)).await;
    assert!(ran.code == Some(0) && !ran.is_success(), "{} {}", ran.stdout, ran.stderr);
    assert!(ran.reason().contains("No verification results"), "{}", ran.reason());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_go_containerregistrys_in_clear() {
    main_job(Kind::WithReferrersApi, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_go_containerregistrys_over_tls() {
    main_job(Kind::WithReferrersApi, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_distributions_with_a_password_in_clear() {
    main_job(Kind::WithTagSchema, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_distributions_with_a_password_over_tls() {
    main_job(Kind::WithTagSchema, true).await;
}
