//! A blob from CNCF distribution: pulled and hashed by `ratify plugin save`, which asks for the
//! manifest and then does nothing else, beside `curl`, which does not hash. Both write to a file in
//! memory, and are whole processes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Rounds;
use crate::bench::build::Both;
use crate::bench::certificates::Certificates;
use crate::bench::distribution::Distribution;
use crate::bench::figures::{Figure, Judged, Series, Shown, Target, Unit};
use crate::bench::folder::{Folder, Home};
use crate::bench::proc;
use crate::bench::say;
use crate::process;

const MIB: u64 = 1 << 20;
/// The blob that is pulled against the clock.
const BLOB: u64 = 256 * MIB;
/// The one whose size must not be seen in memory, and one of no size to speak of.
const LARGE: u64 = 1024 * MIB;
const SMALL: u64 = 1024;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry and the programs that pull from it.
struct Site<'a> {
    registry: Distribution,
    authority: Option<PathBuf>,
    programs: &'a Both<'a>,
    folder: &'a Folder,
}

/// Measures time over HTTPS and in clear, and memory over HTTPS.
///
/// # Errors
/// When something does not run, or pulls other than what was pushed.
pub(super) fn measure(
    programs: &Both<'_>,
    folder: &Folder,
    rounds: &Rounds,
) -> Result<Vec<Figure>> {
    let place = folder.fresh(Home::Disk)?;
    let certificates = Certificates::make(programs.tool("openssl")?, &place.folder)?;
    let files = place.home;
    let site = |certificates: Option<&Certificates>| -> Result<Site<'_>> {
        let place = folder.fresh(Home::Disk)?.folder;
        let registry = Distribution::start(programs.tool("registry")?, certificates, &place)?;
        let authority = certificates.map(Certificates::authority);
        Ok(Site { registry, authority, programs, folder })
    };
    let (https, clear) = (site(Some(&certificates))?, site(None)?);
    say("push blobs of up to 1 GiB");
    let oras = programs.tool("oras")?;
    let blob = file(&files, "blob", BLOB)?;
    let [at_https, at_clear] =
        [&https, &clear].map(|site| site.registry.push_by_oras(oras, &blob, "blob"));
    let (at_https, at_clear) = (at_https?, at_clear?);
    fs::remove_file(blob)?;
    let mut figures = vec![
        Figure {
            name: "256 MiB blob over HTTPS, pulled and hashed: share of `curl`'s throughput",
            target: Target::AtLeast(80.0),
            shown: Shown::Everywhere,
            ..share(https.against_curl(&at_https, rounds.pull)?)
        },
        Figure {
            name: "the same in clear: share of `curl`'s throughput",
            ..share(clear.against_curl(&at_clear, rounds.pull)?)
        },
    ];
    drop(clear);
    let [small, large] =
        [("small", SMALL), ("large", LARGE)].map(|(name, size)| -> Result<String> {
            let file = file(&files, name, size)?;
            let reference = https.registry.push_by_oras(oras, &file, name)?;
            fs::remove_file(file)?;
            Ok(reference)
        });
    figures.push(https.memory(&small?, &large?, rounds.memory)?);
    Ok(figures)
}

fn share(ours: Series) -> Figure {
    Figure {
        name: "",
        unit: Unit::Percent,
        target: Target::None,
        judged: Judged::Median,
        ours,
        v1: Series::default(),
        shown: Shown::InDocument,
    }
}

impl Site<'_> {
    /// What part of curl's throughput ours is, a reading a round. They take turns.
    fn against_curl(&self, reference: &str, rounds: usize) -> Result<Series> {
        let url = self.url_of_blob(reference)?;
        let mut series = Series::default();
        for round in 1..=rounds {
            let place = self.folder.fresh(Home::Memory)?.home;
            let started = Instant::now();
            process::capture(&mut self.save(reference, &place))?;
            let ours = started.elapsed();
            let pulled = largest(&place.join("layout/blobs/sha256"))?;
            fs::remove_dir_all(&place)?;

            let place = self.folder.fresh(Home::Memory)?.home;
            let file = place.join("blob");
            let started = Instant::now();
            process::capture(self.curl()?.arg("--output").arg(&file).arg(&url))?;
            let curls = started.elapsed();
            let expected = fs::metadata(file)?.len();
            fs::remove_dir_all(&place)?;
            if (pulled, expected) != (BLOB, BLOB) {
                bail!("ours pulled {pulled} bytes and curl {expected}, of {BLOB}");
            }
            say(&format!("256 MiB, round {round}: ours {ours:.3?}, curl {curls:.3?}"));
            series.push(100.0 * curls.as_secs_f64() / ours.as_secs_f64());
        }
        Ok(series)
    }

    /// How much more memory a large blob takes than a small one, at most.
    fn memory(&self, small: &str, large: &str, rounds: usize) -> Result<Figure> {
        let mut ours = Series::default();
        for round in 1..=rounds {
            let most = |reference: &str| -> Result<u64> {
                let place = self.folder.fresh(Home::Memory)?.home;
                let most = proc::most_memory(&mut self.save(reference, &place))?;
                fs::remove_dir_all(&place)?;
                Ok(most)
            };
            let (idle, busy) = (most(small)?, most(large)?);
            say(&format!("1 GiB, round {round}: {busy} KiB, and {idle} KiB for 1 KiB"));
            ours.push((busy as f64 - idle as f64) / 1024.0);
        }
        Ok(Figure {
            name: "1 GiB blob pulled and hashed: most memory above that for 1 KiB, worst run",
            unit: Unit::Mebibytes,
            target: Target::AtMost(8.0),
            judged: Judged::Worst,
            ours,
            v1: Series::default(),
            shown: Shown::InDocument,
        })
    }

    fn save(&self, reference: &str, place: &Path) -> Command {
        let mut command = Command::new(self.programs.ratify);
        command.args(["plugin", "save", reference]).arg(place.join("layout"));
        command
            .env_clear()
            .env("HOME", place)
            .env("TMPDIR", place)
            .env("RATIFY_LOG_LEVEL", "error");
        command.envs(self.authority.as_ref().map(|file| ("SSL_CERT_FILE", file)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn curl(&self) -> Result<Command> {
        let mut command = Command::new(self.programs.tool("curl")?);
        // As ours; curl is not slower by it.
        command.args(["--silent", "--show-error", "--fail", "--http1.1"]).stdin(Stdio::null());
        if let Some(authority) = &self.authority {
            command.arg("--cacert").arg(authority);
        }
        Ok(command)
    }

    /// The place of the only layer of a manifest.
    fn url_of_blob(&self, reference: &str) -> Result<String> {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        let path = reference.strip_prefix(&format!("{}/", self.registry.address()));
        let (repository, tag) = path
            .and_then(|path| path.rsplit_once(':'))
            .with_context(|| format!("{reference} is not of this registry"))?;
        let api = format!("{scheme}://{}/v2/{repository}", self.registry.address());
        let mut curl = self.curl()?;
        curl.arg("--header").arg(format!("Accept: {MANIFEST}"));
        let manifest = process::capture(curl.arg(format!("{api}/manifests/{tag}")))?;
        let manifest: Value = serde_json::from_str(&manifest).context("the manifest is no JSON")?;
        let digest = manifest["layers"][0]["digest"].as_str().context("it names no layer")?;
        Ok(format!("{api}/blobs/{digest}"))
    }
}

/// A file of that size: the same unguessable mebibyte again and again.
fn file(folder: &Path, name: &str, size: u64) -> Result<PathBuf> {
    let mut piece = Vec::new();
    let source = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    source.take(MIB.min(size)).read_to_end(&mut piece)?;
    let path = folder.join(name);
    let mut file =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    for _ in 0..size.div_ceil(MIB) {
        file.write_all(&piece)?;
    }
    Ok(path)
}

/// The size of the largest file of a folder.
fn largest(folder: &Path) -> Result<u64> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut sizes = entries.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.try_fold(0, |largest, size: Result<u64>| Ok(largest.max(size?)))
}
