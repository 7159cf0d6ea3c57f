//! Plugins of Notation (plugin specification of the Notary Project, contract version 1.0): what this crate
//! asks of whoever runs them, and what they answer. The most important item is [`VerificationPlugins`].
//!
//! Nothing here starts a process: a program is found, bounded and ended by whoever implements the traits.

mod answer;
mod metadata;
mod request;

use std::{fmt, sync::Arc};

use ratify_core::{Basis, BoxFuture, Context, go_json, strict_json};
use serde_json::{Map, Value};

use crate::refusal::{Refusal, Result};

pub(crate) use answer::Answer;
pub(crate) use metadata::{Capability, Metadata};
pub(crate) use request::verify_signature;

/// The version of the contract that is spoken.
const CONTRACT: &str = "1.0";
/// An error of a program is shown up to here.
const MOST_SHOWN: usize = 1000;
/// A text of a program that is a reason is cut to this: the certificates of a chain in Base64, and more, fit.
const MOST: usize = 16 << 10;

/// Who knows the plugins that a verifier may run.
pub trait VerificationPlugins: fmt::Debug + Send + Sync {
    /// Finds the program of a plugin, which is called `notation-<name>`. The name is a signature's: it may
    /// be anything.
    ///
    /// # Errors
    /// Why there is none, or why it may not run.
    fn find(&self, name: &str) -> Result<Arc<dyn VerificationPlugin>, String>;

    /// Adds what their answers rest on besides what they are asked: their bytes.
    fn add_basis(&self, basis: &mut Basis);
}

/// A plugin that was found.
pub trait VerificationPlugin: Send + Sync {
    /// Runs its program once, and returns what it wrote to standard output.
    fn run<'a>(&'a self, call: PluginCall<'a>) -> BoxFuture<'a, Result<Vec<u8>, PluginFailure>>;
}

/// What a program is run with.
#[derive(Debug)]
#[non_exhaustive]
pub struct PluginCall<'a> {
    /// Its one argument.
    pub command: &'static str,
    /// What it reads from standard input: JSON.
    pub stdin: String,
    /// Until when it may run, and for whom.
    pub context: &'a Context,
}

/// A program that did not run, was ended, or did not exit with 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFailure {
    /// How it ended.
    pub reason: String,
    /// What it wrote to standard error, where it ended by itself.
    pub stderr: Vec<u8>,
    /// Whether it had no time or no room, which says nothing of what it was asked.
    pub is_passing: bool,
}

/// Runs a program, and reads the JSON object that it answers with.
pub(crate) async fn ask(
    plugin: &dyn VerificationPlugin,
    name: &str,
    call: PluginCall<'_>,
) -> Result<Fields> {
    let command = call.command;
    let stdout = plugin.run(call).await.map_err(|failure| told(name, command, &failure))?;
    Fields::read(&stdout).ok_or_else(|| {
        let shown = ratify_core::capped_line(&String::from_utf8_lossy(&stdout), MOST_SHOWN);
        let named = ratify_core::capped_line(name, 200);
        tracing::error!("the answer of plugin {named} to {command} is no JSON object: {shown}");
        malformed(name, command)
    })
}

/// What standard output holds that is no answer.
pub(crate) fn malformed(name: &str, command: &str) -> Refusal {
    let name = ratify_core::capped_line(name, 200);
    let text = format!("failed to unmarshal the response of {command} command for plugin {name}");
    Refusal::from(text).unknown()
}

/// What a program says of its failure on standard error, or else how it ended.
fn told(name: &str, command: &str, failure: &PluginFailure) -> Refusal {
    let shown = ratify_core::capped_line(&String::from_utf8_lossy(&failure.stderr), MOST_SHOWN);
    let name = ratify_core::capped_line(name, 200);
    let reason = &failure.reason;
    tracing::error!("failed to execute the {command} command for plugin {name}: {reason}: {shown}");
    let text = match failure.stderr.is_empty() {
        true => reason.clone(),
        false => error_of(&failure.stderr)
            .unwrap_or_else(|| format!("{reason}, and the plugin's error is malformed: {shown}")),
    };
    Refusal::from(text).unknown().passing(failure.is_passing)
}

/// The message of an error as the specification has it.
fn error_of(stderr: &[u8]) -> Option<String> {
    let fields = Fields::read(stderr)?;
    let code = fields.text("errorCode")?;
    let message = fields.text("errorMessage")?;
    let has_metadata = fields.get("errorMetadata")?.is_some_and(|metadata| !metadata.is_null());
    if code.is_empty() && message.is_empty() && !has_metadata {
        return None;
    }
    // As v1 shows an error that has none.
    let message = if message.is_empty() { "<nil>" } else { message };
    Some(ratify_core::capped_line(cut(message), MOST))
}

/// The start of a text, whose control characters are the caller's to escape.
pub(crate) fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MOST)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// The fields of an object, in any case, as Go reads them. What can be read in two ways is none.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    fn read(bytes: &[u8]) -> Option<Self> {
        strict_json::read(bytes).ok().map(Self)
    }

    /// A field; `None` where it is there in two spellings.
    fn get(&self, key: &str) -> Option<Option<&Value>> {
        field(&self.0, key)
    }

    /// A text, empty where it is missing; `None` where it is something else.
    fn text(&self, key: &str) -> Option<&str> {
        text(&self.0, key)
    }

    /// Texts; `None` where they are something else.
    fn texts(&self, key: &str) -> Option<Vec<String>> {
        let items = match self.get(key)? {
            None | Some(Value::Null) => return Some(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return None,
        };
        items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
    }
}

fn field<'a>(object: &'a Map<String, Value>, key: &str) -> Option<Option<&'a Value>> {
    go_json::member(object, key).ok()
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    match field(object, key)? {
        None | Some(Value::Null) => Some(""),
        Some(Value::String(text)) => Some(text),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reason: &str, stderr: &str) -> String {
        let (reason, stderr) = (reason.to_owned(), stderr.into());
        let failure = PluginFailure { reason, stderr, is_passing: false };
        told("p", "verify-signature", &failure).to_string()
    }

    #[test]
    fn a_failure_has_the_plugins_words_where_it_has_any() {
        assert_eq!(failure("exit status 1", ""), "exit status 1");
        let error = r#"{"errorCode":"ACCESS_DENIED","errorMessage":"no \"rights\""}"#;
        assert_eq!(failure("exit status 1", error), "no \"rights\"");
        assert_eq!(failure("exit status 1", r#"{"ErrorCode":"ERROR"}"#), "<nil>");
        let drawn =
            failure("exit status 1", r#"{"errorCode":"E","errorMessage":"a\u001b[2Jb\nc"}"#);
        assert!(!drawn.contains(['\u{1b}', '\n']), "{drawn:?}");
        for malformed in
            ["no\njson", "{}", r#"{"errorCode":1}"#, r#"{"errorCode":"a","errorCode":"b"}"#]
        {
            let told = failure("exit status 1", malformed);
            let start = "exit status 1, and the plugin's error is malformed: ";
            assert!(told.starts_with(start) && !told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn nothing_that_a_plugin_writes_is_endless() {
        let message = "é".repeat(100_000);
        let stderr = serde_json::json!({"errorCode": "ERROR", "errorMessage": message}).to_string();
        assert_eq!(failure("x", &stderr).len(), 16 << 10);
        assert!(failure("x", &message).len() < 1200);
    }

    #[test]
    fn a_failure_passes_where_there_was_no_time_or_no_room_alone() {
        let of = |is_passing| {
            let failure = PluginFailure { reason: "r".into(), stderr: Vec::new(), is_passing };
            told("p", "c", &failure).lasts()
        };
        assert_eq!(of(true), crate::refusal::Lasting::Passing);
        assert_eq!(of(false), crate::refusal::Lasting::Unknown);
    }
}
