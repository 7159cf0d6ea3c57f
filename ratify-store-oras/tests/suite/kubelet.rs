//! Which keys of docker's configuration cover which images, against the kubelet's own code: of each
//! pair of a key and an image, and of small sets of keys, which one counts.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use ratify_store_oras::{
    Connections,
    auth::{self, Environment},
};
use serde_json::{Map, Value, json};

use crate::{programs, real::tool};

const HOSTS: [&str; 9] = [
    "a.example.com",
    "b.example.com",
    "*.example.com",
    "a*.example.com",
    "*b.example.com",
    "a.*.com",
    "*.*.com",
    "*example.com",
    "example.com",
];
const PATHS: [&str; 10] =
    ["", "/", "/v1/", "/v2/", "/team", "/v2/team", "/team/", "/team/app", "/te", "/team/app/x"];
const IMAGE_HOSTS: [&str; 5] =
    ["a.example.com", "b.example.com", "ab.example.com", "example.com", "x.a.example.com"];
const REPOSITORIES: [&str; 6] = ["app", "team", "team/app", "team/app/x", "teams/app", "te/app"];
const PORTS: [&str; 2] = ["", ":5000"];

/// The keys that the kubelet would try, in its order, of each question.
fn kubelet(questions: &[(Vec<String>, String)]) -> Option<Vec<Vec<String>>> {
    let asked = questions.iter().map(|(keys, image)| json!({"keys": keys, "image": image}));
    let asked = Value::Array(asked.collect()).to_string();
    let mut process = Command::new(tool("kubelet-keyring")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let fed = std::thread::spawn(move || stdin.write_all(asked.as_bytes()).unwrap());
    let ended = process.wait_with_output().unwrap();
    fed.join().unwrap();
    assert!(ended.status.success());
    Some(serde_json::from_slice(&ended.stdout).unwrap())
}

/// The keys that count here, one or none, of each question.
async fn ours(questions: &[(Vec<String>, String)]) -> Vec<Option<String>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let config = json!({"name": "dockerConfig", "configPath": path});
    let environment = Environment::default();
    let provider =
        auth::from_config(config.as_object(), &environment, &Connections::default()).unwrap();
    let (mut found, mut written) = (Vec::new(), None);
    for (keys, image) in questions {
        if written != Some(keys) {
            let entry = |key: &String| (key.clone(), json!({"username": "u", "password": key}));
            let auths: Map<String, Value> = keys.iter().map(entry).collect();
            std::fs::write(&path, json!({"auths": auths}).to_string()).unwrap();
            written = Some(keys);
        }
        let password = programs::password(&*provider, image).await;
        found.push((password != "Anonymous").then_some(password));
    }
    found
}

fn images() -> Vec<String> {
    let mut images = Vec::new();
    for host in IMAGE_HOSTS {
        for port in PORTS {
            images.extend(REPOSITORIES.map(|repository| format!("{host}{port}/{repository}")));
        }
    }
    images
}

fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    for scheme in ["", "https://"] {
        for host in HOSTS {
            for port in PORTS {
                keys.extend(PATHS.map(|path| format!("{scheme}{host}{port}{path}")));
            }
        }
    }
    keys
}

/// A key's host and path, whatever is in front of them.
fn bare(key: &str) -> String {
    let key = key.strip_prefix("https://").unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.strip_prefix("v1/").or(path.strip_prefix("v2/")).unwrap_or(path);
    format!("{host}/{path}").trim_end_matches('/').to_owned()
}

/// Whether a key's path ends within a part of the repository's name, or names the repository with a
/// slash at its end: the kubelet compares texts, here parts of names are compared.
fn is_told_apart(key: &str, image: &str) -> bool {
    let path = |text: &str| text.split_once('/').map(|(_, path)| path.to_owned());
    let Some(folder) = path(&bare(key)) else { return false };
    let repository = path(image).unwrap();
    let is_within = repository
        .strip_prefix(&folder)
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if key.ends_with('/') { repository == folder } else { is_within }
}

#[tokio::test]
async fn a_key_covers_the_images_that_it_covers_for_the_kubelet() {
    let mut questions = Vec::new();
    for key in keys().into_iter().filter(|key| !key.starts_with("https://")) {
        questions.extend(images().into_iter().map(|image| (vec![key.clone()], image)));
    }
    let Some(expected) = kubelet(&questions) else { return };
    let found = ours(&questions).await;
    let mut differences = 0;
    for (((keys, image), expected), found) in questions.iter().zip(&expected).zip(&found) {
        let is_same = expected.is_empty() == found.is_none();
        let key = &keys[0];
        let may_differ = is_told_apart(key, image) && is_of_host(key, image);
        assert_eq!(is_same, !may_differ, "{key} {image}: {expected:?} {found:?}");
        differences += usize::from(!is_same);
    }
    let matches = found.iter().flatten().count();
    assert!(questions.len() == 10_800 && matches > 1000, "{matches} of {}", questions.len());
    assert!(differences > 100, "{differences}");
}

/// Whether the host of a key covers that of an image, by our own account.
fn is_of_host(key: &str, image: &str) -> bool {
    let host = |text: &str| bare(text).split('/').next().unwrap().to_owned();
    let (pattern, host) = (host(key), host(image));
    let split = |text: &str| text.split(['.', ':']).map(str::to_owned).collect::<Vec<_>>();
    let (pattern, host) = (split(&pattern), split(&host));
    pattern.len() == host.len()
        && pattern.iter().zip(&host).all(|(glob, label)| match glob.split_once('*') {
            None => glob == label,
            Some((before, after)) => label.starts_with(before) && label.ends_with(after),
        })
}

#[tokio::test]
async fn of_several_keys_the_one_counts_that_the_kubelet_tries_first() {
    let is_plain = |key: &String| !key.contains('*') && !key.ends_with("/te");
    let keys: Vec<String> = keys().into_iter().filter(is_plain).collect();
    let images = images();
    // Steps without a common divisor with the number of keys: many sets, always the same.
    let mut questions = Vec::new();
    for (number, image) in images.iter().cycle().take(3000).enumerate() {
        let key = |step: usize| keys[(number * step + step) % keys.len()].clone();
        let set: BTreeSet<String> = [7, 11, 23, 41, 59].map(key).into();
        questions.push((set.into_iter().collect(), image.clone()));
    }
    let Some(expected) = kubelet(&questions) else { return };
    let found = ours(&questions).await;
    let mut compared = 0;
    for (((keys, image), expected), found) in questions.iter().zip(&expected).zip(&found) {
        if keys.iter().any(|key| is_told_apart(key, image)) {
            continue;
        }
        // Spellings of one key are one for the kubelet, in no order.
        let first = expected.first().map(|key| bare(key));
        assert_eq!(found.as_deref().map(bare), first, "{keys:?} {image}");
        compared += usize::from(expected.len() > 1);
    }
    assert!(compared > 100, "{compared}");
}
