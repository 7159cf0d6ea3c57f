//! A changed configuration file comes into force, however it was changed; a broken one does not.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ratify_controller::{
    reload::{ConfigFile, Watcher},
    state::{Active, Snapshot},
};
use ratify_core::{ErrorCode, config::Config, executor::Executor};
use tokio::task::JoinHandle;
use tracing::Level;

/// A file that is watched. What is in force shows in the executor's bound on nesting.
struct Watched {
    directory: tempfile::TempDir,
    active: Arc<Active>,
    builds: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

fn text(number: usize) -> String {
    format!(r#"{{"executor":{{"verificationRequestTimeout":{number}}}}}"#)
}

/// 99 cannot be built; 98 can at the third attempt to build anything.
fn build(config: &Config, attempt: usize) -> ratify_core::Result<Snapshot> {
    let number = usize::try_from(config.executor.verification_ms()).unwrap();
    if number == 99 || number == 98 && attempt < 3 {
        return Err(ErrorCode::ConfigInvalid.detail("ninety-nine"));
    }
    let mut executor = Executor::new(vec![], vec![], None);
    executor.limits.nesting = number;
    Ok(Snapshot::new(executor))
}

impl Watched {
    /// `prepare` puts the first configuration, number 10, in place; the watched file is
    /// `config.json`.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        let path = directory.path().join("config.json");
        let first = ConfigFile::read("", &path).unwrap();
        let active = Arc::new(Active::new(build(&first.config, 0).unwrap()));
        let builds = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&builds);
        let watcher =
            Watcher::new(path, first, Arc::clone(&active)).every(Duration::from_millis(10));
        let task = tokio::spawn(async move {
            watcher
                .watch(|config| {
                    let attempt = counted.fetch_add(1, Ordering::SeqCst) + 1;
                    async move { build(&config, attempt) }
                })
                .await;
        });
        Self { directory, active, builds, task }
    }

    fn plain() -> Self {
        Self::start(|directory| fs::write(directory.join("config.json"), text(10)).unwrap())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("config.json")
    }

    fn in_force(&self) -> usize {
        self.active.snapshot().view("").executor.limits.nesting
    }

    async fn comes_into_force(&self, number: usize) {
        until(|| self.in_force() == number).await;
    }

    /// Time for many looks.
    async fn looks(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits, but not for ever.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_change_in_place_comes_into_force() {
    let watched = Watched::plain();
    watched.looks().await;
    fs::write(watched.path(), text(20)).unwrap();
    watched.comes_into_force(20).await;
}

#[tokio::test]
async fn changes_of_the_same_size_one_right_after_another_all_count() {
    let watched = Watched::plain();
    for number in 11..60 {
        fs::write(watched.path(), text(number)).unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    watched.comes_into_force(59).await;
}

#[tokio::test]
async fn a_file_moved_into_its_place_comes_into_force() {
    let watched = Watched::plain();
    let next = watched.directory.path().join("next.json");
    fs::write(&next, text(20)).unwrap();
    fs::rename(&next, watched.path()).unwrap();
    watched.comes_into_force(20).await;
}

#[tokio::test]
async fn a_file_that_is_gone_leaves_the_old_in_force_and_counts_when_it_is_back() {
    let watched = Watched::plain();
    fs::remove_file(watched.path()).unwrap();
    watched.looks().await;
    assert_eq!(watched.in_force(), 10);
    fs::write(watched.path(), text(20)).unwrap();
    watched.comes_into_force(20).await;
}

#[tokio::test]
async fn the_swap_of_a_mounted_config_map_comes_into_force() {
    fn version(directory: &Path, name: &str, number: usize) -> io::Result<()> {
        fs::create_dir(directory.join(name))?;
        fs::write(directory.join(name).join("config.json"), text(number))?;
        symlink(name, directory.join("..data_tmp"))?;
        fs::rename(directory.join("..data_tmp"), directory.join("..data"))
    }
    let watched = Watched::start(|directory| {
        version(directory, "..2026_1", 10).unwrap();
        symlink("..data/config.json", directory.join("config.json")).unwrap();
    });
    watched.looks().await;
    version(watched.directory.path(), "..2026_2", 20).unwrap();
    fs::remove_dir_all(watched.directory.path().join("..2026_1")).unwrap();
    watched.comes_into_force(20).await;
}

#[tokio::test]
async fn what_is_no_configuration_or_cannot_be_built_leaves_the_old_in_force() {
    let watched = Watched::plain();
    let too_large = " ".repeat(5 << 20);
    for broken in ["", "{", "<html>", "[]", &text(99), &too_large] {
        fs::write(watched.path(), broken).unwrap();
        watched.looks().await;
        assert_eq!(watched.in_force(), 10, "{broken:.20}");
    }
    fs::write(watched.path(), text(99)).unwrap();
    until(|| watched.builds.load(Ordering::SeqCst) > 0).await;
    watched.looks().await;
    // Of about sixty looks.
    assert!(watched.builds.load(Ordering::SeqCst) <= 6, "what failed is not tried at every look");
    assert_eq!(watched.in_force(), 10);
    fs::remove_file(watched.path()).unwrap();
    fs::create_dir(watched.path()).unwrap();
    watched.looks().await;
    fs::remove_dir(watched.path()).unwrap();
    fs::write(watched.path(), text(20)).unwrap();
    watched.comes_into_force(20).await;
}

#[tokio::test]
async fn the_same_content_is_not_loaded_again() {
    let watched = Watched::plain();
    fs::write(watched.path(), text(10)).unwrap();
    let next = watched.directory.path().join("next.json");
    fs::write(&next, text(10)).unwrap();
    watched.looks().await;
    fs::rename(&next, watched.path()).unwrap();
    watched.looks().await;
    assert_eq!(watched.builds.load(Ordering::SeqCst), 0);
}

/// A registry that was away, or a full disk, is no reason for a configuration never to come into force.
#[tokio::test]
async fn what_could_not_be_built_is_tried_again_without_a_change() {
    let watched = Watched::plain();
    fs::write(watched.path(), text(98)).unwrap();
    watched.comes_into_force(98).await;
    assert_eq!(watched.builds.load(Ordering::SeqCst), 3);
    assert_eq!(watched.active.changes().failures, 2);
    watched.looks().await;
    assert_eq!(watched.builds.load(Ordering::SeqCst), 3, "and then no more");
}

#[tokio::test]
async fn the_log_has_v1s_texts() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    // With one subscriber only, tracing asks the thread that meets a log line first whether anyone
    // listens, and that may be another test's.
    let _second = tracing::Dispatch::new(Lines(Arc::default()));
    let _guard = tracing::subscriber::set_default(Lines(Arc::clone(&lines)));
    let watched = Watched::plain();
    let said = |text: &'static str, times: usize| {
        let lines = Arc::clone(&lines);
        until(move || {
            let lines = lines.lock().unwrap();
            lines.iter().filter(|line: &&String| line.contains(text)).count() >= times
        })
    };
    fs::write(watched.path(), text(20)).unwrap();
    said("reloading executor succeeded", 1).await;
    fs::write(watched.path(), "{").unwrap();
    said("failed to load", 1).await;
    fs::write(watched.path(), text(99)).unwrap();
    said("no updates loaded", 1).await;
    fs::write(watched.path(), text(20)).unwrap();
    said("no change found", 1).await;
    fs::remove_file(watched.path()).unwrap();
    said("does not exist yet", 1).await;
    fs::write(watched.path(), text(30)).unwrap();
    said("configuration directory", 1).await;
    let directory = watched.directory.path().display().to_string();
    let mut seen: Vec<String> = lines
        .lock()
        .unwrap()
        .iter()
        .map(|line: &String| line.replace(&directory, "[dir]"))
        .collect();
    seen.dedup();
    // It may have been tried once more.
    seen.retain(|line| !line.contains("tried again") || line.ends_with(" 100ms"));
    insta::assert_snapshot!(seen.join("\n"), @r#"
    INFO watcher added on configuration file [dir]/config.json
    INFO file watcher event detected WRITE "[dir]/config.json"
    INFO configuration file has been updated, reloading executor succeeded
    INFO file watcher event detected WRITE "[dir]/config.json"
    WARN failed to load from config file , err: unable to unmarshal config body: EOF while parsing an object at line 1 column 1
    INFO file watcher event detected WRITE "[dir]/config.json"
    WARN failed to store/verifier/policy objects from config, no updates loaded. err: CONFIG_INVALID: ninety-nine; it is tried again in 100ms
    INFO file watcher event detected WRITE "[dir]/config.json"
    INFO no change found in config file, no executor update needed
    INFO file watcher event detected REMOVE "[dir]/config.json"
    INFO config file remove event detected
    INFO config file does not exist yet, sleeping again
    INFO configuration file has been updated, reloading executor succeeded
    INFO watcher added on configuration directory [dir]/config.json
    "#);
}

/// A subscriber that keeps the lines of its thread.
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), message.0));
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
