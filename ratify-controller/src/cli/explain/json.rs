//! An explanation as one JSON object. Its keys are documented in `docs/OBSERVABILITY.md`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Explanation, steps::Step};

pub(super) fn document(explained: &Explanation<'_>) -> serde_json::Result<Value> {
    let registry = &explained.registry;
    let mut document = json!({
        "subject": explained.subject,
        "isSuccess": explained.is_success(),
        "reasons": explained.reasons,
        "remediations": explained.remediations,
        "tookMs": milliseconds(explained.took),
        "registry": {
            "requests": registry.total,
            "requestsByHost": registry.by_host,
            "repeated": registry.repeated,
            "tokenExchanges": registry.tokens,
            "answersFromCache": registry.from_cache,
            "bytes": registry.bytes,
            "waitedMs": milliseconds(registry.waited),
        },
        "steps": explained.steps.iter().map(step).collect::<Vec<_>>(),
    });
    match &explained.outcome {
        Ok(result) => document["result"] = serde_json::to_value(result)?,
        Err((error, remediation)) => {
            document["error"] = json!(error);
            if !remediation.is_empty() {
                document["remediations"] = json!([remediation]);
            }
        }
    }
    if explained.left_out > 0 {
        document["stepsLeftOut"] = json!(explained.left_out);
    }
    Ok(document)
}

fn step(of: &Step) -> Value {
    let mut object: Map<String, Value> = of.fields.clone();
    object.insert("step".to_owned(), of.name.into());
    if let Some(took) = of.took {
        object.insert("tookMs".to_owned(), milliseconds(took));
    }
    if !of.steps.is_empty() {
        object.insert("steps".to_owned(), of.steps.iter().map(step).collect());
    }
    object.into()
}

/// With three digits behind the point.
fn milliseconds(time: Duration) -> Value {
    let microseconds = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    json!(f64::from(microseconds) / 1000.0)
}
