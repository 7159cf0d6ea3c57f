//! Images that the real notation and cosign signed, each asked about again and again: what a
//! verification by a built-in verifier costs where no verdict is kept.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::build::Both;
use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use super::folder::{Folder, Home, Place};
use super::images::{self, IMAGES};
use super::load;
use super::registry::Registry;
use super::say;
use super::server::{Host, Server};

/// How many requests are under way at a time.
const AT_ONCE: usize = 4;
/// How often each image is asked about, after a first time that fills what either keeps of blobs.
const TIMES: usize = 5;
/// No more than this share of v1's.
const SHARE: Target = Target::OfV1(1.0 / 5.0);
/// The name of notation's key.
const KEY: &str = "bench";

/// Who signs, and how a server is told to judge it.
struct Case {
    name: &'static str,
    artifact_type: &'static str,
    /// The verifier's own keys.
    keys: Value,
}

/// Lets both hosts judge all images in turn. Every image deserves a yes.
///
/// # Errors
/// When nothing can be signed, or a server does not run or denies.
pub(super) fn measure(programs: &Both<'_>, folder: &Folder, rounds: usize) -> Result<Vec<Figure>> {
    let registry = Registry::start(programs.tool("registry-referrers")?)?;
    let images = images::push_by_digest(registry.address(), IMAGES, 0)?;
    let keys = folder.path().join("signers");
    std::fs::create_dir_all(&keys)?;
    let cases = [by_notation(programs, &keys, &images)?, by_cosign(programs, &keys, &images)?];
    let hosts = [("ours", programs.ratify), ("v1.4.0", programs.v1)];
    let hosts = hosts.map(|(name, program)| Host { name, program });
    let mut figures = Vec::new();
    for case in cases {
        let mut cpu = [Series::default(), Series::default()];
        for round in 1..=rounds {
            for (index, host) in hosts.into_iter().enumerate() {
                let spent = run(host, &case, &images, &folder.fresh(Home::Disk)?)
                    .with_context(|| format!("{} under {}", case.name, host.name))?;
                let each = spent.as_secs_f64() * 1000.0 / (TIMES * images.len()) as f64;
                say(&format!("{}, round {round}, {}: {each:.2} ms", case.name, host.name));
                cpu[index].push(each);
            }
        }
        let [ours, v1] = cpu;
        figures.push(Figure {
            name: case.name,
            unit: Unit::Milliseconds,
            target: SHARE,
            judged: Judged::Median,
            ours,
            v1,
            shown: Shown::Everywhere,
        });
    }
    Ok(figures)
}

fn by_notation(programs: &Both<'_>, keys: &Path, images: &[String]) -> Result<Case> {
    say("sign every image with notation");
    let notation = |arguments: &[&str]| {
        let mut command = Command::new(programs.tool("notation")?);
        signed(command.env("XDG_CONFIG_HOME", keys).args(arguments))
    };
    notation(&["cert", "generate-test", "--default", KEY])?;
    for image in images {
        notation(&["sign", "--insecure-registry", image])?;
    }
    let certificate = keys.join("notation/localkeys").join(format!("{KEY}.crt"));
    ensure!(certificate.exists(), "notation has no {}", certificate.display());
    let statement = json!({
        "name": "default",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:certs"],
        "trustedIdentities": ["*"],
    });
    Ok(Case {
        name: "an image signed by notation: CPU of a verification",
        artifact_type: "application/vnd.cncf.notary.signature",
        keys: json!({
            "name": "notation",
            "verificationCerts": [certificate],
            "trustPolicyDoc": {"version": "1.0", "trustPolicies": [statement]},
        }),
    })
}

fn by_cosign(programs: &Both<'_>, keys: &Path, images: &[String]) -> Result<Case> {
    say("sign every image with cosign");
    let prefix = keys.join("cosign");
    let prefix = prefix.to_str().context("the folder's name is no text")?;
    let cosign = |arguments: &[&str]| {
        let mut command = Command::new(programs.tool("cosign")?);
        signed(command.env("COSIGN_PASSWORD", "").env("HOME", keys).args(arguments))
    };
    cosign(&["generate-key-pair", "--output-key-prefix", prefix])?;
    let (private, public) = (format!("{prefix}.key"), format!("{prefix}.pub"));
    let sign = ["sign", "--yes", "--key", &private, "--tlog-upload=false", "--allow-http-registry"];
    for image in images {
        cosign(&[&sign[..], &[image]].concat())?;
    }
    let policy = json!({
        "name": "default", "scopes": ["*"], "keys": [{"file": public}], "tLogVerify": false,
    });
    Ok(Case {
        name: "an image signed by cosign: CPU of a verification",
        artifact_type: "application/vnd.dev.cosign.artifact.sig.v1+json",
        keys: json!({"name": "cosign", "trustPolicies": [policy]}),
    })
}

fn signed(command: &mut Command) -> Result<()> {
    let ran = command.output().context("cannot start a signer")?;
    if !ran.status.success() {
        bail!("a signer failed: {}", String::from_utf8_lossy(&ran.stderr));
    }
    Ok(())
}

fn run(host: Host<'_>, case: &Case, images: &[String], place: &Place) -> Result<Duration> {
    let server = Server::start_configured(host, &configuration(case, place), place, &[])?;
    let ask = || -> Result<()> {
        let answers = load::ask_all(&server, images, AT_ONCE)?;
        if let Some(why) = answers.iter().find_map(load::denial) {
            bail!("a signed image is denied: {why}; the log is {}", load::keep(&server)?);
        }
        Ok(())
    };
    ask()?;
    server.settle()?;
    let before = server.cpu()?;
    (0..TIMES).try_for_each(|_| ask())?;
    server.settle()?;
    let after = server.cpu()?;
    Ok((after.own + after.children) - (before.own + before.children))
}

fn configuration(case: &Case, place: &Place) -> Value {
    let mut verifier = case.keys.clone();
    verifier["artifactTypes"] = case.artifact_type.into();
    let store = json!({"name": "oras", "useHttp": true, "cosignEnabled": true});
    json!({
        "store": {"version": "1.0.0", "plugins": [store]},
        "policy": {"version": "1.0.0", "plugin": {
            "name": "configPolicy",
            "artifactVerificationPolicies": {(case.artifact_type): "all"},
        }},
        "verifier": {"version": "1.0.0", "pluginBinDirs": [place.folder], "plugins": [verifier]},
        "executor": {"verificationRequestTimeout": 4900},
        "registries": {"allowedAddresses": ["127.0.0.0/8", "::1"]},
    })
}
