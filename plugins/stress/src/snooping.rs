//! Misbehaviour with files: looking where a plugin has no business, and writing there.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use serde_json::{Value, json};

/// How much of a file is read to prove that it can be.
const PROBE: usize = 64;

/// What of its parent's `/proc` can be read. The parent is the host.
pub(crate) fn host_proc() -> Value {
    let parent = std::os::unix::process::parent_id();
    let host = format!("/proc/{parent}");
    let probe = |name: &str| outcome(read_start(&format!("{host}/{name}")));
    json!({
        "pid": parent,
        "environ": probe("environ"),
        "maps": probe("maps"),
        "auxv": probe("auxv"),
        "mem": outcome(read_memory(&host)),
        "fd": outcome(fs::read_dir(format!("{host}/fd")).map(Iterator::count)),
        "exe": outcome(fs::read_link(format!("{host}/exe")).map(|_| 1)),
        "cwd": outcome(fs::read_dir(format!("{host}/cwd/.")).map(Iterator::count)),
        "root": outcome(fs::read_dir(format!("{host}/root/.")).map(Iterator::count)),
    })
}

/// Writes a file in place, and where that is refused puts another in its place.
pub(crate) fn rewrite(path: &str, content: &[u8]) -> Value {
    let in_place = fs::write(path, content);
    if in_place.is_ok() {
        return json!({"inPlace": true});
    }
    let beside = format!("{path}.stress");
    let replaced = fs::write(&beside, content)
        .and_then(|()| copy_mode(Path::new(path), Path::new(&beside)))
        .and_then(|()| fs::rename(&beside, path));
    json!({"inPlace": text(&in_place), "replaced": text(&replaced)})
}

/// The names of the variables; their values may be secrets.
pub(crate) fn environment() -> Value {
    let mut names: Vec<String> =
        env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    json!(names)
}

/// Soft limit, hard limit and unit, by the kernel's name.
pub(crate) fn limits() -> Value {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limits: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_at_checked(26))
        .map(|(name, values)| (name.trim(), values.split_whitespace().collect()))
        .collect();
    json!(limits)
}

/// Where it runs, and as what.
pub(crate) fn place() -> Value {
    let user = fs::metadata("/proc/self").map(|own| own.uid()).ok();
    json!({
        "cwd": env::current_dir().ok(),
        "args": env::args().collect::<Vec<_>>(),
        "exe": env::current_exe().ok(),
        "uid": user,
        "descriptors": open_descriptors(),
    })
}

/// The numbers of its open descriptors; the one that reads the list is among them.
fn open_descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read_start(path: &str) -> io::Result<usize> {
    let mut start = [0; PROBE];
    fs::File::open(path)?.read(&mut start)
}

/// Reads where the first line of `maps` says that something is; without `maps`, where programs
/// without address randomisation begin.
fn read_memory(host: &str) -> io::Result<usize> {
    let memory = fs::File::open(format!("{host}/mem"))?;
    let maps = fs::read_to_string(format!("{host}/maps")).unwrap_or_default();
    let start = maps.split('-').next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let mut bytes = [0; PROBE];
    memory.read_at(&mut bytes, start.unwrap_or(0x40_0000))
}

fn copy_mode(from: &Path, to: &Path) -> io::Result<()> {
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

fn outcome(result: io::Result<usize>) -> Value {
    match result {
        Ok(count) => json!({"read": count}),
        Err(error) => json!({"denied": error.to_string()}),
    }
}

fn text(result: &io::Result<()>) -> Value {
    match result {
        Ok(()) => true.into(),
        Err(error) => error.to_string().into(),
    }
}
