//! The figures as a reader sees them: the README's table, and docs/BENCHMARKS.md with every reading's
//! spread and how it was measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::{Figure, Judged, Series, Shown, Target, Unit};
use super::images::{ARTIFACTS, IMAGES};
use super::machine::Machine;

const DOCUMENT: &str = "docs/BENCHMARKS.md";

/// Every figure, a row each, in Markdown.
pub(super) fn table(figures: &[Figure]) -> String {
    rows(figures.iter())
}

/// What the README shows: figures that have a target, but for those that say little to a newcomer.
pub(super) fn for_readme(figures: &[Figure], machine: &Machine) -> String {
    let is_shown =
        |figure: &&Figure| figure.target != Target::None && figure.shown == Shown::Everywhere;
    let shown = figures.iter().filter(is_shown);
    format!(
        "{}\nMedians of one run of `cargo xtask bench`, both side by side: {machine}.\n\
         [How it is measured](docs/BENCHMARKS.md).\n",
        rows(shown)
    )
}

/// Writes docs/BENCHMARKS.md.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_document(root: &Path, figures: &[Figure], machine: &Machine) -> Result<()> {
    let text = document(figures, &machine.to_string());
    fs::write(root.join(DOCUMENT), text).with_context(|| format!("cannot write {DOCUMENT}"))
}

fn document(figures: &[Figure], machine: &str) -> String {
    let table = rows(figures.iter());
    let spread = spread(figures);
    format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`, which fails when a target is missed. One run, ours and \
         Ratify v1.4.0's taking turns on the same machine: {machine}.\n\n\
         {table}\n\
         ## How it is measured\n\n\
         - **Programs.** `ratify` and the plugins are built as they ship: static for musl, profiles \
         `release` and `plugin`. Ratify v1.4.0 and its plugins are built by Go without cgo, stripped. \
         The Go sample is v1.4.0's plugin skeleton with the oras store linked in, without which it \
         fails under any host whose store is oras.\n\
         - **One exec call.** A runner spawns the plugin with the protocol's variables and JSON on \
         standard input, reads its answer, waits, and repeats; user and system time of all children \
         (/proc/self/stat), divided by the calls.\n\
         - **The load.** {IMAGES} images with {ARTIFACTS} SPDX documents each, all different, in \
         go-containerregistry's registry (Referrers API, plain HTTP, loopback). `ratify serve` is \
         started with an empty home (and TMPDIR) and asked `POST /ratify/gatekeeper/v1/verify`, one key a request, \
         four at a time, request timeout 4.9 s as in v1's chart, no result cache, policy `all`. CPU is \
         user and system time of the server and of the processes it ran, from before the first \
         question until everything is at rest; the registry's is not counted. Every image deserves a \
         yes: whatever else comes is a wrong denial. v1's sbom plugins read blobs, and race on the \
         index of one cache folder: many end early, with an error, which also makes v1's CPU time \
         smaller. Under our host each call has a cache of its own, and all of them do their work.\n\
         - **A kept verdict that is asked for rarely.** One image by digest with one artifact, the cache of \
         verdicts of each server (`--cache-enabled`), and ten questions, each over a connection of its own, \
         1.1 s apart: the time that the server's threads ran (/proc/PID/task/*/schedstat), from before a \
         question until the next, divided by the questions. Nothing is warm then, and what a server does \
         that nobody asked for is in it.\n\
         - **Homes.** Both servers' homes are on disk; a second load keeps them in memory (/dev/shm). \
         We write each manifest into the cache of proven blobs, v1's server writes nothing in this load; \
         and what it costs to create a file on ext4 depends on how many files others deleted nearby in \
         the last seconds. Both figures are given.\n\
         - **Start.** From spawn to the first HTTP answer, asked every millisecond.\n\
         - **Idle memory.** VmRSS of the server two seconds after its first answer; PSS where the \
         kernel shows it.\n\
         - **Signatures.** {IMAGES} images without artifacts, in go-containerregistry's registry, each signed \
         by the real `notation` (JWS, RSA 2048) or `cosign` 2 (ECDSA P-256, under its tag), and asked about \
         once and then five times more, four at a time, no result cache, certificates and keys from files, no \
         log and no responder. CPU is that of the server in those five, until it is at rest, divided by the \
         questions. It is the whole answer: what it takes to ask the registry for the image and for what is \
         attached to it is in it.\n\
         - **Pulls.** CNCF distribution on loopback, over HTTPS with a private authority and in clear; the \
         blob is what `oras push` made of a file. `ratify plugin save` asks for the manifest, pulls the blob, \
         hashes it and gives it its name in an OCI layout; `curl` writes the same blob to a file and hashes \
         nothing. Both speak HTTP/1.1, write to /dev/shm, are timed as whole processes, and take turns; each \
         reading is curl's time as a share of ours. Most memory is VmHWM of `ratify plugin save` for 1 GiB, \
         less that for 1 KiB. v1.4.0 has no such command.\n\
         - **A registry with a limit.** go-containerregistry's, behind a door that serves 50 requests a second \
         from a bucket of 50 and answers the others with 429 and `Retry-After: 1`. 500 images with one \
         artifact each, each asked about once, 200 at a time, request timeout 29.9 s: the longest that \
         Kubernetes gives a webhook. The door counts; every image deserves a yes.\n\
         - **Requests of a verification** are counted by that door, without a limit. We read each artifact's \
         manifest, to prove that it belongs to the image, where v1.4.0 takes the list's word; a verifier that \
         is built in adds one request for each blob that it reads (2 + 2N for N artifacts, counted by the \
         test `counting` of the store's suite). A plugin that links v1's store asks by itself, under either host.\n\
         - **Custom resources.** etcd and kube-apiserver on loopback, and both controllers in turn on \
         that one API server, with our definitions of the kinds. Plugins lie in CNCF distribution \
         (HTTPS, private authority): v1's Go sample as `oras push` pushes it, ours by \
         `ratify plugin push`. A watch tells when the status of a Verifier first says `issuccess`, \
         counted from before its creation; home and volume are empty. The bytes of a restart are those \
         of the registry's access log, until two seconds after the verifier is in force again. 1,000 \
         Verifiers without a source are there when the process starts, and it is watched until the \
         last status is written. SIGTERM comes while a question about a registry that says nothing is \
         open, and the time from its answer to the end of the process counts.\n\
         - **Sizes** are file sizes, in units of 1000.\n\n\
         What is called worst, and sizes, are judged by the worst reading, everything else by the median.\n\n\
         ## How much the readings differ\n\n\
         {spread}"
    )
}

fn rows<'a>(figures: impl Iterator<Item = &'a Figure>) -> String {
    let head = "| | target | ours | v1.4.0 | ours / v1 | |\n|---|---|---|---|---|---|\n";
    let row = |figure: &Figure| {
        format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            figure.name,
            target(figure),
            value(figure.unit, figure.our_reading()),
            figure.v1_reading().map_or_else(String::new, |reading| value(figure.unit, reading)),
            ratio(figure),
            verdict(figure),
        )
    };
    figures.fold(head.to_owned(), |text, figure| text + &row(figure))
}

fn spread(figures: &[Figure]) -> String {
    let head =
        "| | ours: least to greatest | v1.4.0: least to greatest | readings |\n|---|---|---|---|\n";
    let measured = figures.iter().filter(|figure| figure.unit != Unit::Bytes);
    measured.fold(head.to_owned(), |text, figure| {
        let Figure { name, unit, ours, v1, .. } = figure;
        let (ours_range, v1_range) = (range(*unit, ours), range(*unit, v1));
        text + &format!("| {name} | {ours_range} | {v1_range} | {} |\n", ours.len())
    })
}

/// Ours as a share of v1's; of counts it says nothing.
fn ratio(figure: &Figure) -> String {
    let ratio = figure.ratio().filter(|_| figure.unit != Unit::Count);
    ratio.map_or_else(String::new, share)
}

fn range(unit: Unit, series: &Series) -> String {
    format!("{} to {}", value(unit, series.least()), value(unit, series.greatest()))
}

fn target(figure: &Figure) -> String {
    match figure.target {
        Target::AtMost(limit) if figure.judged == Judged::Worst && limit == 0.0 => "0".to_owned(),
        Target::AtMost(limit) => format!("≤ {}", value(figure.unit, limit)),
        Target::AtLeast(limit) => format!("≥ {}", value(figure.unit, limit)),
        Target::OfV1(limit) => format!("≤ {} of v1", share(limit)),
        Target::None => String::new(),
    }
}

fn verdict(figure: &Figure) -> &'static str {
    match (figure.target, figure.is_met()) {
        (Target::None, _) => "",
        (_, true) => "met",
        (_, false) => "**NOT met**",
    }
}

fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Microseconds => format!("{value:.1} µs"),
        Unit::Milliseconds => format!("{value:.2} ms"),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Mebibytes => format!("{value:.1} MiB"),
        Unit::Bytes if value < 1e6 => format!("{:.0} kB", value / 1e3),
        Unit::Bytes => format!("{:.1} MB", value / 1e6),
        Unit::Percent => format!("{value:.1} %"),
        Unit::Count => format!("{value:.0}"),
    }
}

/// A small share as a fraction, since that is how it is spoken of.
fn share(share: f64) -> String {
    if share > 0.0 && share < 0.2 {
        format!("1/{:.0}", (1.0 / share).floor())
    } else {
        format!("{share:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        let series = |readings: &[f64]| readings.iter().copied().collect();
        vec![
            Figure {
                name: "CPU",
                unit: Unit::Milliseconds,
                target: Target::OfV1(1.0 / 25.0),
                judged: Judged::Median,
                ours: series(&[2.0, 1.0, 3.0]),
                v1: series(&[61.0, 60.0, 59.0]),
                shown: Shown::Everywhere,
            },
            Figure {
                name: "wrong denials",
                unit: Unit::Count,
                target: Target::AtMost(0.0),
                judged: Judged::Worst,
                ours: series(&[0.0, 1.0]),
                v1: series(&[30.0, 13.0]),
                shown: Shown::Everywhere,
            },
            Figure {
                name: "size",
                unit: Unit::Bytes,
                target: Target::None,
                judged: Judged::Worst,
                ours: series(&[523_000.0]),
                v1: series(&[]),
                shown: Shown::Everywhere,
            },
        ]
    }

    #[test]
    fn the_table_says_target_readings_ratio_and_verdict() {
        insta::assert_snapshot!(table(&figures()), @r"
        | | target | ours | v1.4.0 | ours / v1 | |
        |---|---|---|---|---|---|
        | CPU | ≤ 1/25 of v1 | 2.00 ms | 60.00 ms | 1/30 | met |
        | wrong denials | 0 | 1 | 30 |  | **NOT met** |
        | size |  | 523 kB |  |  |  |
        ");
    }

    #[test]
    fn the_spread_shows_how_noisy_it_was() {
        insta::assert_snapshot!(spread(&figures()), @r"
        | | ours: least to greatest | v1.4.0: least to greatest | readings |
        |---|---|---|---|
        | CPU | 1.00 ms to 3.00 ms | 59.00 ms to 61.00 ms | 3 |
        | wrong denials | 0 to 1 | 13 to 30 | 2 |
        ");
    }

    #[test]
    fn a_share_is_never_rounded_to_a_better_one() {
        assert_eq!(share(1.0 / 25.9), "1/25");
        assert_eq!(share(0.6), "0.60");
    }
}
