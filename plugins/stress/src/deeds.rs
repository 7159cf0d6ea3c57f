//! The deeds, by name, and what each leaves in the report. A deed returns, unless it is its point
//! not to.

use std::{
    process::{self, ExitCode},
    thread,
    time::Duration,
};

use ratify_plugin_sdk::{PluginError, protocol::VerifyInput};
use serde_json::{Value, json};

use crate::{Parameters, answers, processes, snooping};

/// Does what is asked and then accepts, with whatever the deeds found in `extensions`.
pub(crate) fn run(stdin: &[u8], input: VerifyInput) -> ExitCode {
    let name = input.config.get("name").cloned().unwrap_or_default();
    let mut parameters: Parameters = match serde_json::from_value(Value::Object(input.config)) {
        Ok(parameters) => parameters,
        Err(error) => {
            let error = PluginError::new(2, "invalid verifier config", error.to_string());
            print!("{}", error.to_json());
            return ExitCode::FAILURE;
        }
    };
    let names =
        std::mem::replace(&mut parameters.misbehave, crate::Names::Many(Vec::new())).into_list();
    let mut report = json!({
        "isSuccess": true, "name": name, "type": "stress",
        "message": format!("stress did: {}", names.join(",")), "extensions": {},
    });
    for name in &names {
        if let Some(ended) = answers::play(name, &parameters, &mut report) {
            return ended;
        }
        let found = play(name, stdin, &parameters);
        if let (Some(found), Some(extensions)) = (found, report["extensions"].as_object_mut()) {
            extensions.insert(name.clone(), found);
        }
    }
    answers::print_line(&report);
    ExitCode::SUCCESS
}

/// Deeds that are not about the answer. What one finds goes into the report.
fn play(name: &str, stdin: &[u8], parameters: &Parameters) -> Option<Value> {
    let lifetime = Duration::from_secs(parameters.seconds);
    let found = match name {
        "hang" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        "crash" => process::abort(),
        "panic" => panic!("stress panics without the SDK"),
        "slow" => {
            thread::sleep(lifetime);
            return None;
        }
        "ignore_sigterm" => json!(processes::ignore_sigterm().to_string()),
        "orphan" => processes::orphan(lifetime),
        "daemon" => processes::daemon(lifetime),
        "fork_bomb_small" => processes::many(parameters.count, lifetime),
        "eat_memory" => eat_memory(parameters.bytes),
        "read_host_proc" => snooping::host_proc(),
        "rewrite_file" => snooping::rewrite(&parameters.path, parameters.content.as_bytes()),
        "report_env" => snooping::environment(),
        "report_limits" => snooping::limits(),
        "report_cwd_args" => snooping::place(),
        "echo_stdin" => serde_json::from_slice(stdin).unwrap_or_default(),
        _ if answers::is_known(name) => return None,
        _ => json!("there is no such misbehaviour"),
    };
    Some(found)
}

/// Touches each page, so that the memory is really there.
fn eat_memory(bytes: u64) -> Value {
    const CHUNK: usize = 1 << 20;
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    while (eaten.len() as u64) * (CHUNK as u64) < bytes {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(CHUNK).is_err() {
            return json!({"refusedAfter": eaten.len() * CHUNK});
        }
        chunk.resize(CHUNK, 0xa5);
        eaten.push(chunk);
    }
    json!({"eaten": std::hint::black_box(&eaten).len() * CHUNK})
}
