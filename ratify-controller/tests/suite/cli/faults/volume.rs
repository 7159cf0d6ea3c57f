//! No room on the volume where plugins are installed: what runs goes on, what does not fit says so
//! everywhere and leaves nothing half written, and it runs as soon as there is room, by itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::{
        cluster::{LOOKS, events},
        trouble::disk::Disk,
    },
    Lab, Replica, is_active, program, programs_in, reason,
};

/// Two pages of a program, besides those of what is written about it.
const LENGTH: usize = 8000;
/// Those of all that is written for a plugin.
const PAGES: u64 = 10;

/// A lab with a replica whose plugin directory is a small disk, where a verifier says `v0`.
async fn start() -> Option<(Lab, Replica, Disk)> {
    let lab = Lab::start().await?;
    let mut replica = lab.replica("pod-1");
    let options = "size=1m,mode=0700";
    let place = Disk::mount(&mut replica.home, ".ratify/plugins", options).await?;
    replica.start().await;
    let disk = Disk::of(replica.server(), &place);
    lab.push("v0", &program("v0", 0));
    lab.apply("verifiers", "judge", &spec(&lab, "v0")).await;
    replica.until_says(&lab.image(), "v0").await;
    lab.until("verifiers", "judge", is_active).await;
    Some((lab, replica, disk))
}

fn spec(lab: &Lab, tag: &str) -> Value {
    lab.judge(&lab.plugin(&lab.registry.host(), tag))
}

/// What failed, on what, why, and what to do.
fn is_told(text: &str, replica: &Replica) -> bool {
    let written = format!("writing {}/.store/", replica.home.plugins().display());
    text.contains("DOWNLOAD_PLUGIN_FAILURE")
        && text.contains(&written)
        && text.contains("No space left on device (os error 28): free some space")
}

/// The programs that are there when nothing half written is, and no more files than so many: another try
/// may be under way.
async fn at_rest(disk: &Disk, most: usize) -> Vec<String> {
    for _ in 0..LOOKS {
        let (whole, others) = programs_in(&disk.seen);
        if others.is_empty() && disk.files(".store") <= most {
            return whole;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?} of {} files", programs_in(&disk.seen), disk.files(".store"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_volume_has_no_room_for_is_told_and_runs_when_there_is_some() {
    let Some((lab, replica, disk)) = start().await else { return };
    disk.fill();
    let before = disk.files(".store");
    lab.push("v1", &program("v1", LENGTH));
    for (name, outcome) in [("judge", "KeptLastGood"), ("new", "Refused")] {
        lab.apply("verifiers", name, &spec(&lab, "v1")).await;
        let object = lab.until("verifiers", name, |object| reason(object) == outcome).await;
        for text in [&object["status"]["error"], &object["status"]["conditions"][0]["message"]] {
            assert!(is_told(text.as_str().unwrap(), &replica), "{object}");
        }
        if name == "judge" {
            assert_eq!(replica.says(&lab.image()).await.as_deref(), Ok("v0"));
            lab.delete("verifiers", name).await;
        }
    }
    let refused = replica.says(&lab.image()).await.unwrap_err().to_string();
    assert!(refused.contains("the verifier new is not in force: "), "{refused}");
    assert!(is_told(&refused, &replica), "{refused}");
    for (name, outcome) in [("judge", "KeptLastGood"), ("new", "Refused")] {
        let is_meant = |event: &String| event.starts_with(outcome) && is_told(event, &replica);
        for look in 0.. {
            let said = events(&lab.cluster, name).await;
            if said.iter().any(is_meant) {
                break;
            }
            assert!(look < LOOKS, "{said:?}");
        }
    }
    assert!(replica.log().lines().any(|line| is_told(line, &replica)), "{}", replica.log());
    at_rest(&disk, before).await;
    disk.free();
    replica.until_says(&lab.image(), "v1").await;
    lab.until("verifiers", "new", is_active).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_the_room_ends_what_ran_runs_on_and_nothing_half_written_is_left() {
    let Some((lab, replica, disk)) = start().await else { return };
    let pushed = lab.push("v1", &program("v1", LENGTH));
    let before = disk.files(".store");
    for pages in 0..=PAGES {
        disk.fill_but(pages);
        // A change is tried at once.
        let mut spec = spec(&lab, "v1");
        spec["parameters"] = json!({"try": pages.to_string()});
        let applied = lab.apply("verifiers", "judge", &spec).await;
        let generation = &applied["metadata"]["generation"];
        let is_tried = |object: &Value| object["status"]["observedGeneration"] == *generation;
        let is_done = |object: &Value| {
            is_tried(object) && ["Active", "KeptLastGood"].contains(&reason(object))
        };
        let object = lab.until("verifiers", "judge", is_done).await;
        if reason(&object) == "Active" {
            let (whole, _) = programs_in(&disk.seen);
            assert!(whole.contains(&pushed.program), "{whole:?}");
            replica.until_says(&lab.image(), "v1").await;
            assert!(pages > 0);
            return;
        }
        assert!(is_told(object["status"]["error"].as_str().unwrap(), &replica), "{object}");
        assert_eq!(replica.says(&lab.image()).await.as_deref(), Ok("v0"));
        // What the registry says of the program is whole, and may stay.
        assert_eq!(at_rest(&disk, before + 1).await.len(), 1);
    }
    panic!("{PAGES} pages are not enough: {}", replica.log());
}
