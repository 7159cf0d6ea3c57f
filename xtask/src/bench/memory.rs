//! Memory in the long run, for `cargo xtask soak`: a server is asked about thousands of images, each
//! of them new to it, and must hold no more at the end than soon after it began.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::build::{self, Both};
use super::folder::{Folder, Home};
use super::images::{self, ARTIFACTS};
use super::load;
use super::proc;
use super::registry::Registry;
use super::say;
use super::server::{Host, Plugin, Server};

/// How many parts the images are asked about in; the memory is looked at after each.
const PARTS: usize = 20;
const AT_ONCE: usize = 4;
/// How much the server may ever hold.
const MOST_KIB: u64 = 64 << 10;
/// How many parts it has to fill what it keeps: verdicts of ten seconds, names of blobs, buffers.
const TO_FILL: usize = 10;
/// How much more than then it may hold at the end: what a heap gains by chance.
const GAIN: f64 = 1.10;
/// The chart's way to serve.
const ARGUMENTS: [&str; 2] = ["--cache-enabled", "--cache-ttl=10s"];
/// How wide a bar for the most that is allowed would be.
const WIDTH: u64 = 48;

/// Asks about so many images with five artifacts each.
///
/// # Errors
/// When an image is denied, or too much is held.
pub(crate) fn run(ratify: Option<PathBuf>, images: usize) -> Result<()> {
    let [ratify, sample] = build::for_one_part(ratify.as_deref())?;
    let tools = build::parts()?;
    let programs = Both { ratify: &ratify, sample: &sample, v1: &ratify, tools: &tools };
    let folder = Folder::new()?;
    let registry = Registry::start(programs.tool("registry-referrers")?)?;
    let images = images::push(registry.address(), images, ARTIFACTS)?;
    let host = Host { name: "ours", program: programs.ratify };
    let plugin = Plugin { kind: "sample", program: programs.sample };
    let place = folder.fresh(Home::Disk)?;
    let timeout = std::time::Duration::from_secs(30);
    let server = Server::start_as(host, plugin, &place, timeout, &ARGUMENTS.map(String::from))?;
    let mut resident = Vec::new();
    for (number, part) in images.chunks(images.len().div_ceil(PARTS)).enumerate() {
        let answers = load::ask_all(&server, part, AT_ONCE)?;
        if let Some(denial) = answers.iter().find_map(load::denial) {
            anyhow::bail!("a good image is denied: {denial}; the log is {}", load::keep(&server)?);
        }
        let now = proc::memory(server.id())?.resident;
        resident.push(now);
        println!("{}", line((number + 1) * part.len(), now));
    }
    let most = proc::memory(server.id())?.most;
    say(&format!(
        "{} images × {ARTIFACTS} artifacts: {:.1} MiB at most",
        images.len(),
        most as f64 / 1024.0
    ));
    judge(&resident, most)
}

/// One line of the picture.
fn line(asked: usize, resident: u64) -> String {
    let bar = "█".repeat(usize::try_from(resident * WIDTH / MOST_KIB).unwrap_or_default());
    format!("{asked:>7} images {:>6.1} MiB {bar}", resident as f64 / 1024.0)
}

fn judge(resident: &[u64], most: u64) -> Result<()> {
    ensure!(most <= MOST_KIB, "{most} KiB were held, and {MOST_KIB} KiB are allowed");
    let (begin, end) = (resident.get(..TO_FILL), resident.get(TO_FILL..));
    let most_of = |part: Option<&[u64]>| part.and_then(|part| part.iter().copied().max());
    if let (Some(begin), Some(end)) = (most_of(begin), most_of(end)) {
        ensure!(
            end as f64 <= begin as f64 * GAIN,
            "memory grows: {begin} KiB in the first {TO_FILL} parts of {PARTS}, {end} KiB after them"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_or_is_too_much_is_no_success() {
        let flat: Vec<u64> = (0..20).map(|part| 10_000 + 300 * part.min(9)).collect();
        judge(&flat, 20 << 10).unwrap();
        let error = judge(&flat, (64 << 10) + 1).unwrap_err().to_string();
        assert!(error.contains("allowed"), "{error}");
        let grows: Vec<u64> = (0..20).map(|part| 10_000 + 300 * part).collect();
        let error = judge(&grows, 20 << 10).unwrap_err().to_string();
        assert!(error.contains("memory grows"), "{error}");
        assert!(line(500, 32 << 10).ends_with(&"█".repeat(24)));
    }
}
