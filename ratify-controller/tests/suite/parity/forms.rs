//! A built-in verifier in its two forms, asked the same: linked into `ratify`, and as a plugin that is a
//! process of its own, under this host and under v1. What is said is equal, but for the type, and for
//! what a process does not have.

use serde_json::{Value, json};

use super::{
    compare::differences,
    lab::{Host, Lab, Run},
};

/// A verifier, and what its process says otherwise.
pub(super) struct Forms {
    /// The type of the built-in; the plugin's has `verify-` before it.
    pub(super) type_: &'static str,
    /// Cases in which something is fetched, which no process does, so that it passes nothing and
    /// says `unlike`.
    pub(super) fetching: &'static [&'static str],
    /// What a process says instead.
    pub(super) unlike: &'static str,
    /// Cases that v1 is asked about, too.
    pub(super) under_v1: &'static [&'static str],
}

impl Forms {
    /// What is wrong with the process's answer to a case: a text for each thing.
    pub(super) async fn compare(&self, lab: &Lab, run: &Run<'_>) -> Vec<String> {
        let built_in = self.ask(lab, Host::Here, run, self.type_).await;
        let type_ = format!("verify-{}", self.type_);
        let process = self.ask(lab, Host::Here, run, &type_).await;
        let mut wrong = match (built_in.get("error"), self.fetching.contains(&run.name)) {
            (Some(error), false) => refused(error.as_str().unwrap(), &process),
            (_, true) => not_fetched(&built_in, &process, self.unlike),
            (None, false) => texts(&built_in, &process),
        };
        if self.under_v1.contains(&run.name) {
            let v1 = self.ask(lab, Host::V1, run, &type_).await;
            wrong.extend(under_v1(&v1, &process));
        }
        wrong.iter().map(|text| format!("{}, as a process: {text}", run.name)).collect()
    }

    /// A host's answer where every verifier has this type, which is the built-in's in the answer.
    async fn ask(&self, lab: &Lab, host: Host, run: &Run<'_>, type_: &str) -> Value {
        let mut config: Value = serde_json::from_str(run.config.as_ref().unwrap()).unwrap();
        for entry in config["verifier"]["plugins"].as_array_mut().unwrap() {
            entry["type"] = type_.into();
        }
        let name = format!("{} {type_}", run.name);
        let arguments = run.arguments.clone();
        let run = Run { name: &name, config: Some(config.to_string()), arguments, ..*run };
        let answer = lab.outcome(host, &run).await.to_string();
        serde_json::from_str(&answer.replace(&format!("verify-{}", self.type_), self.type_))
            .unwrap()
    }
}

/// A configuration that no built-in is made of makes a process fail with the same words; one that
/// judges no type is asked nothing.
fn refused(error: &str, process: &Value) -> Vec<String> {
    let reports = process["stdout"]["verifierReports"].as_array();
    let said: Vec<&str> = reports
        .into_iter()
        .flatten()
        .filter_map(|report| report["extensions"]["pluginError"]["details"].as_str())
        .collect();
    let is_asked_nothing = process.to_string().contains("No verification results for the artifact");
    let is_same = !said.is_empty() && said.iter().all(|said| error.ends_with(said));
    match (is_same || is_asked_nothing) && process["stdout"]["isSuccess"] != true {
        true => Vec::new(),
        false => vec![format!("{error}, and {process}")],
    }
}

fn not_fetched(built_in: &Value, process: &Value, unlike: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if process["stdout"]["isSuccess"] == true || !process.to_string().contains(unlike) {
        wrong.push(format!("{process} is not \"{unlike}\""));
    }
    if built_in == process {
        wrong.push("nothing is fetched".to_owned());
    }
    wrong
}

fn texts(one: &Value, other: &Value) -> Vec<String> {
    differences(one, other).iter().map(ToString::to_string).collect()
}

/// v1 keeps the verdict, the message and the extensions of what a plugin says.
fn under_v1(v1: &Value, here: &Value) -> Vec<String> {
    let mut here = here.clone();
    for report in here["stdout"]["verifierReports"].as_array_mut().into_iter().flatten() {
        let report = report.as_object_mut().unwrap();
        report.retain(|key, _| !["errorReason", "remediation"].contains(&key.as_str()));
    }
    texts(v1, &here)
}

#[test]
fn a_process_that_says_otherwise_is_found() {
    let answer = |passes: bool, reason: &str| {
        let report = json!({"isSuccess": passes, "errorReason": reason});
        json!({"exit": 0, "stdout": {"isSuccess": passes, "verifierReports": [report]}})
    };
    let failed = answer(false, "the list is not known");
    assert!(not_fetched(&answer(true, ""), &failed, "not known").is_empty());
    assert_eq!(not_fetched(&answer(false, "x"), &answer(true, "not known"), "not known").len(), 1);
    assert_eq!(not_fetched(&failed, &failed, "not known").len(), 1);
    assert_eq!(not_fetched(&answer(true, ""), &failed, "gone").len(), 1);
    let mut error = failed.clone();
    error["stdout"]["verifierReports"][0]["extensions"] =
        json!({"pluginError": {"details": "bad"}});
    assert!(refused("Error: it is bad", &error).is_empty());
    assert_eq!(refused("Error: it is worse", &error).len(), 1);
    assert_eq!(refused("Error: it is bad", &failed).len(), 1);
    assert!(under_v1(&answer(false, ""), &failed).len() == 1, "v1 has no such key");
}
