//! Plugins on this machine: [`look`] gathers what there is of each, [`judge`] says what it means.
//! Nothing is run and nothing written.

use std::path::{Path, PathBuf};

use ratify_core::{Digest, Reference};
use rustix::fs::{Access, StatVfs};

use super::finding::{Finding, shown};
use crate::plugin::{
    find::{find_in_dirs, not_executable},
    inventory::{Inventory, InventoryError, Kind, Record, Resource},
    trust::{Distrust, Node, Program, program_at, this_platform},
};

const FOUND: &str = "plugin.found";
const PROGRAM: &str = "plugin.program";
const DIGEST: &str = "plugin.digest";
const PIN: &str = "plugin.pin";
const VOLUME: &str = "plugin.volume";
/// A plugin is pulled beside the one before; Go's have 44 MB.
const LITTLE: u64 = 200 << 20;

/// A plugin that an entry, or a resource, names.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) kind: Kind,
    /// The entry's or the resource's name.
    pub(super) name: String,
    pub(super) type_: String,
    /// Where it is pulled from, where that is done.
    pub(super) source: Option<String>,
    /// What the status of its resource says that runs.
    pub(super) pinned: Option<Digest>,
    /// Where it is searched.
    pub(super) dirs: Vec<PathBuf>,
}

/// What there is of it.
#[derive(Debug)]
pub(super) enum Seen {
    /// A file that was put there.
    File { path: PathBuf, program: Result<Program, Distrust>, mode: Option<String> },
    /// Installed from its source: what was recorded, and whether that is still so.
    Installed {
        record: Box<Record>,
        state: Result<(), InventoryError>,
        loads: Result<bool, String>,
    },
    /// It has a source and was not installed here yet.
    NotInstalled,
    /// It is nowhere.
    Missing(String),
}

/// A directory of plugins.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) path: PathBuf,
    /// Whether it is there.
    pub(super) exists: bool,
    /// Why it cannot be written to.
    pub(super) refused: Option<String>,
    /// Why programs there are not run.
    pub(super) no_exec: bool,
    /// Bytes that are free.
    pub(super) free: Option<u64>,
}

/// Looks for a plugin. It reads whole files: not for an async thread.
pub(super) fn look(named: &Named) -> Seen {
    if named.source.is_some() {
        let Some(directory) = named.dirs.first() else { return Seen::NotInstalled };
        let inventory = Inventory::of(directory);
        let resource = Resource { name: named.name.clone(), kind: named.kind };
        let Some(record) = inventory.record(&resource) else { return Seen::NotInstalled };
        let state = inventory.open(&record).map(drop);
        let loads = inventory
            .loads()
            .map_err(|error| error.to_string())
            .map(|loads| loads.loads.iter().any(|load| load.program == record.digest));
        return Seen::Installed { record: Box::new(record), state, loads };
    }
    match find_in_dirs(&named.type_, &named.dirs) {
        Err(error) => Seen::Missing(error.to_string()),
        Ok(path) => {
            let architecture = this_platform().architecture;
            let exists = |path: &Path| path.exists();
            let node = Node { architecture: &architecture, allow_scripts: true, exists: &exists };
            let (program, mode) = (program_at(&path, &node), not_executable(&path));
            Seen::File { path, program, mode }
        }
    }
}

/// Looks at a directory of plugins.
pub(super) fn volume(path: &Path) -> Volume {
    let exists = path.is_dir();
    let statistics = rustix::fs::statvfs(path).ok();
    let flags = |found: &StatVfs| found.f_flag.contains(rustix::fs::StatVfsMountFlags::NOEXEC);
    let refused = rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK);
    Volume {
        path: path.to_owned(),
        exists,
        refused: refused.err().filter(|_| exists).map(|error| error.to_string()),
        no_exec: statistics.as_ref().is_some_and(flags),
        free: statistics.map(|found| found.f_bavail.saturating_mul(found.f_frsize)),
    }
}

/// What is to be said of a plugin.
pub(super) fn judge(named: &Named, seen: &Seen) -> Vec<Finding> {
    let on = format!("{} {}", named.kind, named.name);
    let mut findings = Vec::new();
    match seen {
        Seen::Missing(why) => findings.push(missing(named, &on, why)),
        Seen::NotInstalled => findings.push(
            Finding::note(FOUND, &on, "it is not installed here yet")
                .why("it is pulled when `ratify serve` starts, which fails, or is late, where the registry is away")
                .fix(install(named)),
        ),
        Seen::File { path, program, mode } => {
            findings.push(Finding::ok(FOUND, &on, path.display().to_string()));
            findings.push(program_of(&on, program, mode.as_deref()));
        }
        Seen::Installed { record, state, loads } => {
            findings.push(Finding::ok(FOUND, &on, format!("installed from {}", shown(&record.artifact))));
            findings.push(digest(named, &on, record, state, loads));
        }
    }
    findings.extend(named.source.as_deref().map(|source| pin(&on, source, named)));
    findings
}

fn missing(named: &Named, on: &str, why: &str) -> Finding {
    let directory = named.dirs.first().map(|dir| dir.display().to_string()).unwrap_or_default();
    Finding::failure(FOUND, on, shown(why))
        .why("what it would judge is refused, and `ratify serve` does not start with this file")
        .fix(format!(
            "put the program there: install -m 0755 {} {directory}/{}, or name a source for it",
            named.type_, named.type_
        ))
}

fn install(named: &Named) -> String {
    let source = named.source.as_deref().unwrap_or_default();
    let directory = named.dirs.first().map(|dir| dir.display().to_string()).unwrap_or_default();
    format!(
        "ratify plugin install {} --name {} --dir {directory}",
        shown(source),
        shown(&named.name)
    )
}

fn program_of(on: &str, program: &Result<Program, Distrust>, mode: Option<&str>) -> Finding {
    let cannot = "it cannot be run: each call fails, and with it each image it would judge";
    if let Some(mode) = mode {
        return Finding::failure(PROGRAM, on, mode).why(cannot).fix("chmod a+x on the file");
    }
    match program {
        Err(error) => Finding::failure(PROGRAM, on, shown(&error.to_string()))
            .why(cannot)
            .fix("build it static for this machine (Go: CGO_ENABLED=0; Rust: a -linux-musl target)"),
        Ok(Program::Static) => Finding::ok(PROGRAM, on, "a static program for this machine"),
        Ok(Program::Dynamic { loader }) => {
            Finding::note(PROGRAM, on, format!("linked dynamically, by {}", shown(loader)))
                .why("it runs here, and not in Ratify's image, which has no loader")
                .fix("build it static (Go: CGO_ENABLED=0; Rust: a -linux-musl target)")
        }
        Ok(Program::Script { interpreter }) => {
            Finding::note(PROGRAM, on, format!("a script for {}", shown(interpreter)))
                .why("it runs here, and not in Ratify's image, which has no interpreter; and nobody proved the interpreter")
                .fix("make a static program of it")
        }
    }
}

fn digest(
    named: &Named,
    on: &str,
    record: &Record,
    state: &Result<(), InventoryError>,
    loads: &Result<bool, String>,
) -> Finding {
    if let Err(error) = state {
        return Finding::failure(DIGEST, on, shown(&error.to_string()))
            .why("the program is not what was proven: it is not run")
            .fix(install(named));
    }
    let of = &record.digest;
    match (&named.pinned, loads) {
        (Some(pinned), _) if pinned != of => Finding::warning(
            DIGEST,
            on,
            format!("{of} is installed, and the status names {pinned}"),
        )
        .why("replicas on one architecture would run different programs")
        .fix("kubectl rollout restart the Deployment of Ratify, and look again"),
        (_, Err(why)) => Finding::warning(
            DIGEST,
            on,
            format!("its bytes are {of}; the record of loads cannot be read: {}", shown(why)),
        )
        .why("what was loaded cannot be proven afterwards, and no further program may run")
        .fix("look at the permissions of .store/loads in the plugin directory"),
        (_, Ok(false)) => {
            Finding::note(DIGEST, on, format!("its bytes are {of}; no load of it is recorded"))
                .why("it was installed and has not come into force yet")
        }
        (_, Ok(true)) => Finding::ok(DIGEST, on, format!("its bytes are {of}, as recorded")),
    }
}

fn pin(on: &str, source: &str, named: &Named) -> Finding {
    match Reference::parse_exact(source) {
        Err(error) => Finding::failure(PIN, on, shown(&error.to_string()))
            .why("nothing can be pulled by it")
            .fix("name it in full: registry.example.com/plugins/name:tag, or @sha256:…"),
        Ok(reference) if reference.digest().is_some() => {
            Finding::ok(PIN, on, "its source is a digest")
        }
        Ok(_) if named.pinned.is_some() => {
            Finding::ok(PIN, on, "its tag is pinned by the status of its resource")
        }
        Ok(reference) => {
            let path = reference.path();
            Finding::note(PIN, on, format!("its source is a tag: {}", shown(source)))
                .why("whoever may push to it says what is run at the next start")
                .fix(format!(
                    "name the digest: {}@$(ratify resolve -s {})",
                    shown(path),
                    shown(source)
                ))
        }
    }
}

/// What is to be said of a directory of plugins.
pub(super) fn judge_volume(volume: &Volume, is_written: bool) -> Finding {
    let on = volume.path.display().to_string();
    if !volume.exists {
        let finding = Finding::note(VOLUME, &on, "there is no such directory")
            .why("it is made when the first plugin is installed; none is found in it before");
        return finding;
    }
    if volume.no_exec {
        return Finding::failure(VOLUME, &on, "it is mounted noexec")
            .why("no plugin in it can be run")
            .fix(format!("mount -o remount,exec {on}, or name another volume"));
    }
    if let Some(why) = volume.refused.as_ref().filter(|_| is_written) {
        return Finding::failure(
            VOLUME,
            &on,
            format!("this user may not write to it: {}", shown(why)),
        )
        .why("no plugin can be installed there")
        .fix(format!("chown it to the user of Ratify (65532 in the image): chown -R 65532 {on}"));
    }
    match volume.free {
        Some(free) if free < LITTLE && is_written => Finding::warning(
            VOLUME,
            &on,
            format!("{} MB are free", free >> 20),
        )
        .why("a plugin is pulled beside the one before; when the volume is full updates fail")
        .fix("give it more space, or take plugins away that nothing names (ratify plugin list)"),
        Some(free) => Finding::ok(VOLUME, &on, format!("{} MB are free", free >> 20)),
        None => Finding::not_checked(VOLUME, &on, "how much is free cannot be told"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::State;

    fn named(source: Option<&str>) -> Named {
        Named {
            kind: Kind::Verifier,
            name: "v".into(),
            type_: "sample".into(),
            source: source.map(str::to_owned),
            pinned: None,
            dirs: vec!["/plugins".into()],
        }
    }

    fn states(findings: &[Finding]) -> Vec<(&'static str, State)> {
        findings.iter().map(|finding| (finding.id, finding.state)).collect()
    }

    #[test]
    fn what_is_wrong_with_a_program_is_said_with_its_fix() {
        let file = |program, mode: Option<&str>| Seen::File {
            path: "/plugins/sample".into(),
            program,
            mode: mode.map(str::to_owned),
        };
        let foreign = || Distrust::Architecture { built_for: "arm64".into(), node: "amd64".into() };
        let dynamic = Program::Dynamic { loader: "/lib/ld.so".into() };
        let table = [
            (file(Ok(Program::Static), None), State::Ok),
            (file(Ok(dynamic), None), State::Note),
            (file(Err(foreign()), None), State::Failure),
            (file(Ok(Program::Static), Some("not executable")), State::Failure),
        ];
        for (seen, expected) in table {
            let findings = judge(&named(None), &seen);
            assert_eq!(states(&findings), [(FOUND, State::Ok), (PROGRAM, expected)], "{seen:?}");
            assert_eq!(findings[1].fix.is_empty(), expected == State::Ok);
        }
        let findings = judge(&named(None), &Seen::Missing("none".into()));
        assert_eq!(states(&findings), [(FOUND, State::Failure)]);
        assert!(findings[0].fix.contains("/plugins/sample"), "{findings:?}");
    }

    #[test]
    fn a_source_by_tag_is_noted_unless_something_pins_it() {
        let by_tag = named(Some("registry.example.com/p/sample:1"));
        let findings = judge(&by_tag, &Seen::NotInstalled);
        assert_eq!(states(&findings), [(FOUND, State::Note), (PIN, State::Note)]);
        assert!(findings[1].fix.contains("registry.example.com/p/sample@$("), "{findings:?}");
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = Named { pinned: digest.parse().ok(), ..by_tag };
        assert_eq!(states(&judge(&pinned, &Seen::NotInstalled))[1], (PIN, State::Ok));
        let by_digest = named(Some(&format!("registry.example.com/p/sample@{digest}")));
        assert_eq!(states(&judge(&by_digest, &Seen::NotInstalled))[1], (PIN, State::Ok));
        let bare = named(Some("sample"));
        assert_eq!(states(&judge(&bare, &Seen::NotInstalled))[1], (PIN, State::Failure));
    }

    #[test]
    fn a_volume_is_judged_by_what_is_to_be_done_with_it() {
        let volume = |refused: bool, no_exec: bool, free: u64| Volume {
            path: "/plugins".into(),
            exists: true,
            refused: refused.then(|| "permission denied".to_owned()),
            no_exec,
            free: Some(free),
        };
        let state = |volume: &Volume, is_written| judge_volume(volume, is_written).state;
        assert_eq!(state(&volume(false, false, 1 << 30), true), State::Ok);
        assert_eq!(state(&volume(true, false, 1 << 30), true), State::Failure);
        assert_eq!(state(&volume(true, false, 0), false), State::Ok);
        assert_eq!(state(&volume(false, true, 1 << 30), false), State::Failure);
        assert_eq!(state(&volume(false, false, 1 << 20), true), State::Warning);
    }
}
