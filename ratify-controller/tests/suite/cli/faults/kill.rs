//! SIGKILL while a plugin is updated, at fifty points spread over the bytes of the pull, the names
//! that appear in the plugin directory and the writes of the status. Whatever was half done: what
//! runs afterwards is proven, the update happens without help, and what is left over stays bounded.

use std::{
    mem::MaybeUninit,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::inotify,
    process::{Pid, Signal, kill_process},
};

use super::{Asked, Fate, Lab, Proxy, Pushed, Replica, is_active, program};

/// Comes in many pieces.
const LENGTH: usize = 400_000;
/// How long a point may take to be reached.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the process is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// So many bytes of the response with the program have arrived.
    Byte(u64),
    /// This many names have appeared in the plugin directory: temporary ones and final ones.
    Name(usize),
    /// The status is about to be written for this time.
    BeforeWrite(usize),
    /// The API server has written, and the process does not know.
    AfterWrite(usize),
}

/// The same order each time.
fn points() -> Vec<Point> {
    let mut points = Vec::new();
    let mut dice: u64 = 0x5eed;
    let mut roll = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let part = LENGTH as u64 / 22;
    points.extend((0..22).map(|number| Point::Byte(1 + number * part + roll(part))));
    points.extend((0..16).map(|number| Point::Name(1 + number % 8)));
    points.extend((0..6).map(|number| Point::BeforeWrite(1 + number % 2)));
    points.extend((0..6).map(|number| Point::AfterWrite(1 + number % 2)));
    for at in (1..points.len()).rev() {
        points.swap(at, usize::try_from(roll(at as u64 + 1)).unwrap());
    }
    points
}

/// Everything a round needs.
struct Scene {
    lab: Lab,
    api: Proxy,
    registry: Proxy,
    replica: Replica,
}

impl Scene {
    async fn start() -> Option<Self> {
        let lab = Lab::start().await?;
        let api = lab.cluster.url().replace("https://", "");
        let api = Proxy::over_tls(&api, lab.cluster.folder()).await;
        let registry = Proxy::plain(&lab.registry.host()).await;
        let mut replica = lab.replica_by("pod-1", &format!("https://{}", api.address()));
        replica.start().await;
        Some(Self { lab, api, registry, replica })
    }

    /// Pushes a version and asks for it.
    async fn update(&self, version: &str) -> Pushed {
        let pushed = self.lab.push(version, &program(version, LENGTH));
        let artifact = self.lab.plugin(self.registry.address(), version);
        self.lab.apply("verifiers", "judge", &self.lab.judge(&artifact)).await;
        pushed
    }

    /// Waits until a version is in force, and says so.
    async fn is_in_force(&self, version: &str, pushed: &Pushed) {
        let object = self.lab.until("verifiers", "judge", is_active).await;
        let plugin = &object["status"]["plugin"];
        assert_eq!(plugin["digest"], pushed.root.as_str(), "{version}: {object}");
        assert_eq!(plugin["program"], pushed.program.as_str(), "{version}: {object}");
        self.replica.until_says(&self.lab.image(), version).await;
        let (whole, _) = self.replica.programs();
        assert!(whole.contains(&pushed.program), "{version}");
    }

    /// Updates to a version and kills the process on the way.
    async fn kill_at(&mut self, point: Point, version: &str, before: &str) -> Pushed {
        for proxy in [&self.api, &self.registry] {
            proxy.forget_held();
        }
        let mut writes = 0;
        let mut nth_write = move |asked: &Asked| {
            writes += usize::from(asked.method == "PATCH" && asked.path.contains("/status"));
            (asked.method == "PATCH").then_some(writes)
        };
        let mut watched = None;
        match point {
            Point::Byte(count) => self.registry.rule(move |asked| {
                if asked.path.contains("/blobs/") { Fate::After(count) } else { Fate::Pass }
            }),
            Point::Name(count) => {
                let (folder, pid) = (self.replica.home.plugins(), self.replica.pid());
                watched = Some(watch(folder, move |names| names == count && kill(pid)));
            }
            Point::BeforeWrite(nth) => self.api.rule(move |asked| match nth_write(asked) {
                Some(write) if write == nth => Fate::Hold,
                _ => Fate::Pass,
            }),
            Point::AfterWrite(nth) => self.api.rule(move |asked| match nth_write(asked) {
                Some(write) if write == nth => Fate::After(0),
                _ => Fate::Pass,
            }),
        }
        let pushed = self.update(version).await;
        let reached = async {
            match (point, watched) {
                (Point::Name(_), Some(watched)) => watched.await.unwrap(),
                (Point::Byte(_), _) => self.registry.held().await,
                _ => self.api.held().await,
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.unwrap_or_else(|_| panic!("{point:?} is not reached: {}", self.replica.log()));
        if !matches!(point, Point::Name(_)) {
            let said = self.replica.says(&self.lab.image()).await;
            let said = said.unwrap_or_else(|item| panic!("{point:?}: {item}"));
            assert!(said == before || said == version, "{point:?}: {said}");
        }
        let log = self.replica.kill().await;
        assert!(!log.contains("panicked at"), "{log}");
        self.api.rule(|_| Fate::Pass);
        self.registry.rule(|_| Fate::Pass);
        pushed
    }
}

fn kill(pid: Pid) -> bool {
    kill_process(pid, Signal::KILL).unwrap();
    true
}

/// Tells how many names have appeared in a plugin directory, until it was told enough.
fn watch(
    folder: PathBuf,
    is_enough: impl Fn(usize) -> bool + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let events = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    let names = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    for part in ["", ".store/sha256", ".store/documents", ".store/sources"] {
        inotify::add_watch(&events, Path::new(&folder).join(part), names).unwrap();
    }
    tokio::task::spawn_blocking(move || {
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(events, &mut space);
        let mut seen = 0;
        loop {
            events.next().unwrap();
            seen += 1;
            if is_enough(seen) {
                return;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_fifty_points_of_an_update_never_runs_what_is_not_proven_and_recovers()
{
    let Some(mut scene) = Scene::start().await else { return };
    let first = scene.update("v0").await;
    scene.is_in_force("v0", &first).await;
    let points = points();
    assert_eq!(points.len(), 50);
    let mut most = 0;
    for (number, point) in points.into_iter().enumerate() {
        let (before, version) = (format!("v{number}"), format!("v{}", number + 1));
        let pushed = scene.kill_at(point, &version, &before).await;
        let (_, left) = scene.replica.programs();
        scene.replica.start().await;
        scene.is_in_force(&version, &pushed).await;
        most = most.max(left.len());
    }
    assert!(most <= 3, "{most} partial programs are left");
}
