//! The fuzz targets: built with the pinned toolchain and LLVM's coverage, which need no nightly
//! compiler, and run one after another. New inputs are kept below the target directory, so that the
//! next run goes on from there; what fails is a file, and an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process;
use crate::workspace;

const FOLDER: &str = "ratify-controller/fuzz";
const PROGRAM: &str = "ratify-fuzz";
/// With a target named, only what it is built for is instrumented, and no build script.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";
/// Counters for each edge of the code, and what is compared with what (LLVM's SanitizerCoverage).
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// An input that takes longer, or more memory, is a finding.
const BOUNDS: [&str; 4] =
    ["-timeout=30", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-max_len=8192"];

/// What a run of one target came to, as libFuzzer says it.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    executions: u64,
    new_inputs: u64,
    edges: u64,
    peak_mb: u64,
}

/// Runs targets, all of them where none is named, for so long each.
///
/// # Errors
/// When the program does not build, there is no such target, or one of them finds something.
pub(crate) fn run(only: &[String], seconds: u64) -> Result<()> {
    let root = workspace::root()?;
    let all = targets(&root)?;
    for name in only {
        ensure!(all.contains(name), "no such target {name}; there are {}", all.join(", "));
    }
    let program = build(&root)?;
    let found = workspace::metadata()?.target_directory.into_std_path_buf().join("fuzz-found");
    let mut failed = Vec::new();
    for target in all.iter().filter(|target| only.is_empty() || only.contains(target)) {
        println!("== fuzz {target}, {seconds} s");
        let (ran, crashes) = fuzz(&root, &program, &found.join(target), target, seconds)?;
        println!(
            "   {} executions, {} new inputs, {} edges, {} MB; {} findings",
            ran.executions,
            ran.new_inputs,
            ran.edges,
            ran.peak_mb,
            crashes.len()
        );
        failed.extend(crashes);
    }
    for file in &failed {
        println!("{}", file.display());
    }
    ensure!(
        failed.is_empty(),
        "{} findings: mend each, and put its file into {FOLDER}/corpora",
        failed.len()
    );
    Ok(())
}

/// A target has a corpus of its name; the suite checks that the two agree.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FOLDER).join("corpora");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder:?}"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Builds the program with the very versions of the tree's crates.
fn build(root: &Path) -> Result<PathBuf> {
    let lock = root.join(FOLDER).join("Cargo.lock");
    fs::copy(root.join("Cargo.lock"), &lock).with_context(|| format!("cannot write {lock:?}"))?;
    let target = workspace::metadata()?.target_directory.into_std_path_buf().join("fuzz");
    let mut cargo = workspace::cargo()?;
    cargo.current_dir(root.join(FOLDER)).env("RUSTFLAGS", COVERAGE);
    cargo.args(["build", "--release", "--target", PLATFORM, "--target-dir"]).arg(&target);
    process::run(&mut cargo)?;
    Ok(target.join(PLATFORM).join("release").join(PROGRAM))
}

/// Runs one target over its corpus and what was found before.
fn fuzz(
    root: &Path,
    program: &Path,
    found: &Path,
    target: &str,
    seconds: u64,
) -> Result<(Ran, Vec<PathBuf>)> {
    let (inputs, crashes) = (found.join("inputs"), found.join("crashes"));
    for folder in [&inputs, &crashes] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {folder:?}"))?;
    }
    let corpus = root.join(FOLDER).join("corpora").join(target);
    forget_mended(&crashes, &corpus)?;
    let mut command = Command::new(program);
    command.env("RATIFY_FUZZ_TARGET", target).args(BOUNDS).arg("-print_final_stats=1");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    let words = root.join(FOLDER).join("words").join(target);
    if words.is_file() {
        command.arg(format!("-dict={}", words.display()));
    }
    command.arg(&inputs).arg(&corpus);
    let log = found.join("log");
    let ended = process::run_logged(&mut command, &log, target);
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    let mut files = Vec::new();
    for entry in fs::read_dir(&crashes)? {
        files.push(entry?.path());
    }
    match ran(&text) {
        Some(ran) if ended.is_ok() || !files.is_empty() => Ok((ran, files)),
        _ => bail!("{target} did not run: {:#}", ended.err().context("no statistics")?),
    }
}

/// Removes what was found before and is in the corpus now. It is tried first, and found again where it is
/// not mended.
fn forget_mended(crashes: &Path, corpus: &Path) -> Result<()> {
    let files = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {folder:?}"))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let known: Vec<Vec<u8>> = files(corpus)?.iter().map(fs::read).collect::<Result<_, _>>()?;
    for crash in files(crashes)? {
        if known.contains(&fs::read(&crash)?) {
            fs::remove_file(&crash).with_context(|| format!("cannot remove {crash:?}"))?;
        }
    }
    Ok(())
}

/// Reads libFuzzer's log: `stat::NAME: N` at its end, and `cov: N` of its last line about progress.
fn ran(log: &str) -> Option<Ran> {
    let number = |text: &str| text.split_whitespace().next()?.parse().ok();
    let stat = |name: &str| number(log.split_once(&format!("stat::{name}:"))?.1);
    Some(Ran {
        executions: stat("number_of_executed_units")?,
        new_inputs: stat("new_units_added")?,
        edges: log.rsplit_once(" cov: ").and_then(|(_, rest)| number(rest)).unwrap_or_default(),
        peak_mb: stat("peak_rss_mb")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_corpus_is_no_finding_of_before() {
        let folder = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        let [crashes, corpus] = ["crashes", "corpus"].map(|name| folder.join(name));
        for (file, text) in
            [("crashes/crash-1", "a"), ("crashes/crash-2", "b"), ("corpus/word", "a")]
        {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        forget_mended(&crashes, &corpus).unwrap();
        let left = fs::read_dir(&crashes).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.collect();
        fs::remove_dir_all(folder).unwrap();
        assert_eq!(left, ["crash-2"]);
    }

    #[test]
    fn what_libfuzzer_says_is_read() {
        let log = "#2\tINITED cov: 10 ft: 11\n#900\tDONE   cov: 4321 ft: 9 corp: 3/1b\n\
            stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     90\n\
            stat::new_units_added:          17\nstat::slowest_unit_time_sec:    0\n\
            stat::peak_rss_mb:              77\n";
        let expected = Ran { executions: 900, new_inputs: 17, edges: 4321, peak_mb: 77 };
        assert_eq!(ran(log), Some(expected));
        assert_eq!(ran("error: no such target"), None);
    }

    #[test]
    fn each_target_has_a_corpus() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let targets = targets(root).unwrap();
        assert!(targets.contains(&"rego_policy".to_owned()), "{targets:?}");
    }
}
