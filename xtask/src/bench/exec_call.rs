//! One call of a plugin as a host makes it: spawn, JSON on standard input, answer on standard
//! output, exit. The CPU time of the whole process is what counts: the kernel's work for it, too.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::build::Programs;
use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use super::proc;
use super::say;

/// Calls a round: as many as the kernel's 10 ms ticks are small against.
const OUR_CALLS: u32 = 400;
const V1_CALLS: u32 = 15;

/// Measures both samples in turn; the figure is the CPU time of one call.
///
/// # Errors
/// When a plugin does not run, or does not say that it succeeded.
pub(super) fn measure(programs: &Programs, home: &Path, rounds: usize) -> Result<Vec<Figure>> {
    let (mut ours, mut v1) = (Series::default(), Series::default());
    for round in 1..=rounds {
        let our_time = per_call(&programs.sample, home, OUR_CALLS)?;
        let v1_time = per_call(&programs.v1_sample, home, V1_CALLS)?;
        say(&format!("exec call, round {round}: ours {our_time:?}, v1's {v1_time:?}"));
        ours.push(our_time.as_secs_f64() * 1e3);
        v1.push(v1_time.as_secs_f64() * 1e3);
    }
    Ok(vec![Figure {
        name: "CPU of one exec call of the sample plugin",
        unit: Unit::Milliseconds,
        target: Target::OfV1(1.0 / 25.0),
        judged: Judged::Median,
        ours,
        v1,
        shown: Shown::Everywhere,
    }])
}

/// All children of this process that end meanwhile are the plugin's: nothing else is run beside it.
fn per_call(plugin: &Path, home: &Path, calls: u32) -> Result<Duration> {
    let before = proc::cpu("self")?.children;
    for _ in 0..calls {
        call(plugin, home)?;
    }
    Ok((proc::cpu("self")?.children - before) / calls)
}

fn call(plugin: &Path, home: &Path) -> Result<()> {
    let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let mut command = Command::new(plugin);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
    command.env("RATIFY_VERIFIER_COMMAND", "VERIFY").env("RATIFY_VERIFIER_VERSION", "1.0.0");
    command.env("RATIFY_VERIFIER_SUBJECT", format!("registry.example.com/app@sha256:{digest}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", plugin.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input(digest).as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} answered no JSON", plugin.display()))?;
    if answer["isSuccess"] != true {
        bail!("{} did not succeed: {answer}", plugin.display());
    }
    Ok(())
}

fn input(digest: &str) -> String {
    serde_json::json!({
        "config": {"name": "sample", "type": "sample", "artifactTypes": "application/spdx+json"},
        "storeConfig": {
            "version": "1.0.0",
            "pluginBinDirs": null,
            "store": {"name": "oras", "useHttp": true},
        },
        "referenceDesc": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": format!("sha256:{digest}"),
            "size": 2,
            "artifactType": "application/spdx+json",
        },
    })
    .to_string()
}
