//! No room on a disk that is written to: where blobs are kept, where plugins have their directories,
//! and where plugins are installed. Each is a small one of its own here.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use ratify_controller::dev::{RegistryOptions, RunningRegistry};

use super::{
    super::{main_job::Place, skipped},
    *,
};

/// A small disk, seen by one server alone.
pub(in crate::cli) struct Disk {
    /// Where the server has it.
    place: PathBuf,
    /// Where everybody else does.
    pub(in crate::cli) seen: PathBuf,
}

impl Disk {
    /// Has the commands of a home run with a disk of this size at a place in it.
    pub(in crate::cli) async fn mount(
        home: &mut Home,
        name: &str,
        options: &str,
    ) -> Option<PathBuf> {
        let place = home.path().join(name);
        fs::create_dir_all(&place).unwrap();
        let mount = format!("mount -t tmpfs -o {options} none {}", place.display());
        match home.prefix_mounting(&mount).await {
            Ok(()) => Some(place),
            Err(why) => {
                skipped("a full disk", &why);
                None
            }
        }
    }

    pub(in crate::cli) fn of(server: &Server, place: &Path) -> Self {
        let root = PathBuf::from(format!("/proc/{}/root", server.process.id().unwrap()));
        Self { place: place.to_owned(), seen: root.join(place.strip_prefix("/").unwrap()) }
    }

    /// Takes all that is left, of bytes and of names.
    pub(in crate::cli) fn fill(&self) {
        for number in 0..100 {
            let path = self.seen.join(format!("filler-{number}"));
            let Ok(mut file) = fs::File::create(&path) else { break };
            while file.write_all(&[0; 4096]).is_ok() {}
        }
        let more = self.seen.join("more");
        let written = fs::File::create(&more).and_then(|mut file| file.write_all(b"x"));
        assert!(written.is_err(), "{} is not full", self.place.display());
        drop(fs::remove_file(more));
    }

    /// Takes all but so many pages.
    pub(in crate::cli) fn fill_but(&self, pages: u64) {
        self.fill();
        let first = fs::File::options().write(true).open(self.seen.join("filler-0")).unwrap();
        first.set_len(first.metadata().unwrap().len() - 4096 * pages).unwrap();
    }

    /// Gives it back.
    pub(in crate::cli) fn free(&self) {
        for entry in fs::read_dir(&self.seen).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("filler-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// How many files are below a directory.
    pub(in crate::cli) fn files(&self, name: &str) -> usize {
        fn count(path: &Path) -> usize {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&self.seen.join(name))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_blobs_they_are_fetched_each_time() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let [first, second] = ["app1", "app2"].map(|name| put(&registry, name));
    let bad = put(&registry, "bad");
    let mut home = home();
    let Some(place) = Disk::mount(&mut home, "blobs", "size=256k").await else { return };
    let mut file = config(&verifier("judge"));
    file["store"]["plugins"][0]["localCachePath"] = json!(place);
    home.configure(&file);
    let server = Server::start(&home).await;
    let disk = Disk::of(&server, &place);
    until_so("opened", &server, || disk.seen.join(".ratify").exists()).await;
    disk.fill();
    until(&server, &first, true).await;
    until(&server, &bad, false).await;
    assert_eq!(disk.files(".ratify/blobs"), 0);
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    disk.free();
    until(&server, &second, true).await;
    until_so("kept", &server, || disk.files(".ratify/blobs") > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_its_directory_a_plugin_is_asked_later() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let (good, bad) = (put(&registry, "app"), put(&registry, "bad"));
    let mut home = home();
    let options = "size=1m,nr_inodes=40";
    let Some(place) = Disk::mount(&mut home, "tmp", options).await else { return };
    home.set("TMPDIR", place.to_str().unwrap());
    let server = Server::start(&home).await;
    let disk = Disk::of(&server, &place);
    disk.fill();
    for key in [&good, &bad] {
        let said = server.ask(key).await;
        assert!(!allows(&said), "{said}");
        let why =
            said["error"].as_str().unwrap_or_else(|| panic!("it is kept as a verdict: {said}"));
        assert!(why.contains("No space left on device"), "{why}");
    }
    disk.free();
    until(&server, &good, true).await;
    until(&server, &bad, false).await;
}

/// From a file a server is made whole or not at all; whoever starts it again has it as soon as there
/// is room. (By custom resources it is tried again meanwhile.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_a_plugin_there_is_no_server_that_judges_without_it() {
    let registry = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
    let mut home = Home::new();
    home.allow_sources();
    let place = Place { home, registry: registry.host(), is_tls: false };
    place.fill().await;
    place.configure(&place.plugin(":1.0.0"));
    let image = place.image();
    let mut home = place.home;
    if Disk::mount(&mut home, ".ratify/plugins", "size=64k").await.is_none() {
        return;
    }
    let ran = home.run(&["serve", "--http", "127.0.0.1:0"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.error().contains("No space left on device"), "{}", ran.error());
    assert!(Disk::mount(&mut home, ".ratify/plugins", "size=64m").await.is_some());
    let server = Server::start(&home).await;
    until(&server, &image, true).await;
}
