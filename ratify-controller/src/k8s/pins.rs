//! [`Pins`]: which digest each resource runs, in memory and on the volume, for where its status
//! does not say so: v1's definitions keep no such field, and v1 beside us replaces a whole status.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ratify_core::Digest;
use serde::{Deserialize, Serialize};

use super::{
    Once,
    kind::Kind,
    resource::{Key, Pin, Resource},
};
use crate::plugin::inventory::Inventory;

/// Each place that may know which digest a source stands for in the present generation.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The reference in the spec names it.
    pub(super) spec: Option<Pin>,
    /// The status names it, which every replica sees.
    pub(super) status: Option<Pin>,
    /// This process claimed it in the status, which has lost it since.
    pub(super) claimed: Option<Pin>,
    /// It ran here, as the volume says.
    pub(super) kept: Option<Pin>,
}

/// What is to be done about a digest before anything is pulled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one.
    Settled(Pin),
    /// This one, once it was claimed in the status.
    Claim(Pin),
    /// What the tag stands for now, once that was claimed.
    Resolve,
}

impl Known {
    /// Whoever may write a status may not overrule the digest of a spec; what replicas agreed on
    /// comes before what one of them remembers; and what was claimed once is not claimed again:
    /// whoever takes it away would be answered with a write, time and again.
    pub(super) fn choose(self) -> Choice {
        let settled = self.spec.or(self.status).or(self.claimed).map(Choice::Settled);
        settled.or(self.kept.map(Choice::Claim)).unwrap_or(Choice::Resolve)
    }
}

/// The pins of one plugin directory.
pub(super) struct Pins {
    inventory: Inventory,
    known: Mutex<BTreeMap<Key, Pin>>,
    /// What was claimed in a status by this process, whether or not it ran yet.
    claimed: Mutex<BTreeMap<Key, Pin>>,
    is_said: Once,
}

/// A pin as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    generation: i64,
    digest: String,
}

impl Pins {
    /// The pins on a volume. What cannot be read is none: its tag is resolved again.
    pub(super) fn of(inventory: Inventory) -> Self {
        let known = inventory.pins().into_iter().filter_map(|bytes| read(&bytes)).collect();
        let claimed = Mutex::default();
        Self { inventory, known: Mutex::new(known), claimed, is_said: Once::default() }
    }

    /// All that is known about the spec that a resource has now, which may name a digest itself.
    pub(super) fn known(&self, resource: &Resource, of_spec: Option<Digest>) -> Known {
        let (uid, generation) = (&resource.uid, resource.generation);
        Known {
            spec: of_spec.map(|digest| Pin { uid: uid.clone(), generation, digest }),
            status: resource.pin(),
            claimed: of_now(&lock(&self.claimed), resource),
            kept: self.get(resource),
        }
    }

    /// Notes what was claimed.
    pub(super) fn note_claim(&self, key: &Key, pin: &Pin) {
        lock(&self.claimed).insert(key.clone(), pin.clone());
    }

    /// What ran of the spec that a resource has now.
    fn get(&self, resource: &Resource) -> Option<Pin> {
        of_now(&lock(&self.known), resource)
    }

    /// Keeps what a resource runs. On a volume that cannot be written it is kept in memory.
    pub(super) fn keep(&self, key: &Key, pin: &Pin) {
        // What was agreed on since counts, and not what this process claimed once.
        if let Some(claimed) = lock(&self.claimed).get_mut(key) {
            claimed.clone_from(pin);
        }
        if lock(&self.known).insert(key.clone(), pin.clone()).as_ref() == Some(pin) {
            return;
        }
        let written = Written {
            kind: key.kind.name().to_owned(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: pin.uid.clone(),
            generation: pin.generation,
            digest: pin.digest.to_string(),
        };
        let bytes = serde_json::to_vec(&written).unwrap_or_default();
        if let Err(error) = self.inventory.keep_pin(&key.to_string(), &bytes) {
            tracing::warn!("the digest that {key} runs is kept in memory only: {error}");
        }
    }

    /// Forgets what was deleted.
    pub(super) fn forget(&self, key: &Key) {
        lock(&self.claimed).remove(key);
        if lock(&self.known).remove(key).is_none() {
            return;
        }
        if let Err(error) = self.inventory.forget_pin(&key.to_string()) {
            tracing::warn!("the pin of {key} is left over: {error}");
        }
    }

    /// Forgets what was deleted while nobody watched, and says what that is.
    pub(super) fn forget_all_but(&self, kind: Kind, there: &BTreeSet<Key>) -> Vec<Key> {
        let gone = |key: &&Key| key.kind == kind && !there.contains(*key);
        let gone: Vec<Key> = lock(&self.known).keys().filter(gone).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
        gone
    }

    /// Says, once, that the API server keeps no pins.
    pub(super) fn say_that_status_keeps_none(&self) {
        if self.is_said.first() {
            tracing::warn!(
                "the definitions of the custom resources keep no digests of plugins, as v1's do not: they are kept on the volume; `ratify crds apply` brings those that do"
            );
        }
    }
}

fn of_now(pins: &BTreeMap<Key, Pin>, resource: &Resource) -> Option<Pin> {
    let is_of_now = |pin: &&Pin| pin.uid == resource.uid && pin.generation == resource.generation;
    pins.get(&resource.key).filter(is_of_now).cloned()
}

fn lock(pins: &Mutex<BTreeMap<Key, Pin>>) -> MutexGuard<'_, BTreeMap<Key, Pin>> {
    // Each change is one insertion or removal, which is whole even after a panic.
    pins.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(bytes: &[u8]) -> Option<(Key, Pin)> {
    let written: Written = serde_json::from_slice(bytes).ok()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == written.kind)?;
    let digest: Digest = written.digest.parse().ok()?;
    let key = Key { kind, namespace: written.namespace, name: written.name };
    Some((key, Pin { uid: written.uid, generation: written.generation, digest }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ratify_core::executor::testing::digest;

    use super::*;
    use crate::k8s::kind::Role;

    fn resource(name: &str, generation: i64) -> Resource {
        let kind = Kind { role: Role::Verifier, namespaced: true };
        Resource {
            key: Key { kind, namespace: "team".into(), name: name.into() },
            uid: "u".into(),
            generation,
            resource_version: "1".into(),
            spec: Arc::default(),
            status: Arc::default(),
        }
    }

    fn pin(generation: i64) -> Pin {
        Pin { uid: "u".into(), generation, digest: digest(1) }
    }

    /// All combinations of places, and the one that decides.
    #[test]
    fn of_all_that_know_a_digest_the_spec_comes_first_then_the_status_then_this_process() {
        const PLACES: [&str; 4] = ["spec", "status", "claimed", "kept"];
        let pin_of = |place: u8| Pin { digest: digest(place), ..pin(1) };
        let name_of = |pin: &Pin| PLACES.into_iter().zip(0..).find(|(_, at)| *pin == pin_of(*at));
        let row = |known: [bool; 4]| {
            let words = [0, 1, 2, 3].map(|at| if known[at] { PLACES[at] } else { "-" });
            let pin = |at: u8| known[usize::from(at)].then(|| pin_of(at));
            let known = Known { spec: pin(0), status: pin(1), claimed: pin(2), kept: pin(3) };
            let chosen = match known.choose() {
                Choice::Settled(pin) => name_of(&pin).unwrap().0.to_owned(),
                Choice::Claim(pin) => format!("{}, to be claimed", name_of(&pin).unwrap().0),
                Choice::Resolve => "the tag, to be claimed".to_owned(),
            };
            format!("{}: {chosen}\n", words.join(" "))
        };
        let all = (0..16).rev().map(|bits: u8| [8, 4, 2, 1].map(|bit| bits & bit != 0));
        insta::assert_snapshot!(all.map(row).collect::<String>(), @"
        spec status claimed kept: spec
        spec status claimed -: spec
        spec status - kept: spec
        spec status - -: spec
        spec - claimed kept: spec
        spec - claimed -: spec
        spec - - kept: spec
        spec - - -: spec
        - status claimed kept: status
        - status claimed -: status
        - status - kept: status
        - status - -: status
        - - claimed kept: claimed
        - - claimed -: claimed
        - - - kept: kept, to be claimed
        - - - -: the tag, to be claimed
        ");
    }

    #[test]
    fn what_is_known_is_of_the_present_spec_alone() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::of(Inventory::of(folder.path().join("plugins")));
        let named = |generation: i64, of_status: i64| {
            let plugin =
                serde_json::json!({"digest": digest(2).to_string(), "generation": of_status});
            let status = serde_json::json!({ "plugin": plugin }).as_object().cloned().unwrap();
            Resource { status: Arc::new(status), ..resource("v", generation) }
        };
        pins.keep(&named(1, 1).key, &pin(1));
        pins.note_claim(&named(1, 1).key, &pin(1));
        let of = |resource: &Resource, of_spec| pins.known(resource, of_spec).choose();
        let settled =
            |number, generation| Choice::Settled(Pin { digest: digest(number), ..pin(generation) });
        assert_eq!(of(&named(1, 1), None), settled(2, 1));
        assert_eq!(of(&named(1, 1), Some(digest(3))), settled(3, 1));
        assert_eq!(of(&named(1, 0), None), settled(1, 1), "a status of another spec");
        assert_eq!(of(&named(2, 1), None), Choice::Resolve, "a spec that is new");
        let recreated = Resource { uid: "other".into(), ..resource("v", 1) };
        assert_eq!(of(&recreated, None), Choice::Resolve);
        // A later process remembers what ran, and not what was claimed.
        let pins = Pins::of(Inventory::of(folder.path().join("plugins")));
        assert_eq!(pins.known(&named(1, 0), None).choose(), Choice::Claim(pin(1)));
    }

    #[test]
    fn a_pin_outlives_the_process_and_counts_for_its_generation_alone() {
        let folder = tempfile::tempdir().unwrap();
        let pins = || Pins::of(Inventory::of(folder.path().join("plugins")));
        let first = pins();
        assert_eq!(first.get(&resource("v", 3)), None);
        first.keep(&resource("v", 3).key, &pin(3));
        let second = pins();
        assert_eq!(second.get(&resource("v", 3)), Some(pin(3)));
        assert_eq!(second.get(&resource("v", 4)), None);
        let recreated = Resource { uid: "other".into(), ..resource("v", 3) };
        assert_eq!(second.get(&recreated), None);
        second.forget(&recreated.key);
        assert_eq!(pins().get(&resource("v", 3)), None);
    }

    #[test]
    fn what_was_deleted_meanwhile_is_forgotten_and_rubbish_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = Inventory::of(folder.path().join("plugins"));
        let pins = Pins::of(inventory.clone());
        for name in ["here", "gone"] {
            pins.keep(&resource(name, 1).key, &pin(1));
        }
        inventory.keep_pin("rubbish", b"{").unwrap();
        inventory.keep_pin("long", &[b' '; 8192]).unwrap();
        let pins = Pins::of(inventory.clone());
        let there = BTreeSet::from([resource("here", 1).key]);
        pins.forget_all_but(resource("here", 1).key.kind, &there);
        let pins = Pins::of(inventory);
        assert_eq!(pins.get(&resource("here", 1)), Some(pin(1)));
        assert_eq!(pins.get(&resource("gone", 1)), None);
    }

    #[test]
    fn without_a_volume_a_pin_is_kept_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, b"").unwrap();
        let pins = Pins::of(Inventory::of(file.join("plugins")));
        pins.keep(&resource("v", 1).key, &pin(1));
        assert_eq!(pins.get(&resource("v", 1)), Some(pin(1)));
    }
}
