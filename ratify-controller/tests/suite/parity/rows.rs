//! The rows of docs/COMPATIBILITY.md, section "Reports and answers": what each looks like where two
//! answers are compared. What each is for is said there.

use super::compare::Difference;

/// A deliberate difference.
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) is: fn(&Difference) -> bool,
}

pub(super) const FOREIGN_ARTIFACT: &str = "C-foreign-artifact";
pub(super) const STORE_LIST: &str = "C-store-list";
pub(super) const PLUGIN_REASON: &str = "C-plugin-reason";
pub(super) const PLUGIN_ERROR: &str = "C-plugin-error";
pub(super) const PLUGIN_OUTPUT: &str = "C-plugin-output";
pub(super) const PLUGIN_NAMED: &str = "C-plugin-named";
pub(super) const PLUGIN_READ: &str = "C-plugin-read";
pub(super) const PLUGIN_UNREAD: &str = "C-plugin-unread";
pub(super) const CONTROL_CHARACTERS: &str = "C-control-characters";
pub(super) const PLUGIN_NAME: &str = "C-plugin-name";
pub(super) const PLUGIN_INDEX: &str = "C-plugin-index";
pub(super) const SOURCE_TAG: &str = "C-source-tag";
pub(super) const STORE_SOURCE: &str = "C-store-source";
pub(super) const CONNECT_TEXT: &str = "C-connect-text";
pub(super) const PASSING: &str = "C-passing";
pub(super) const DECODE_TEXT: &str = "C-decode-text";
pub(super) const NULL_CONFIG: &str = "C-null-config";
pub(super) const CONFIG_FILE: &str = "C-config-file";
pub(super) const BAD_BODY: &str = "C-bad-body";
pub(super) const REFERRER_DIGEST: &str = "C-referrer-digest";
pub(super) const USAGE: &str = "C-usage";
pub(super) const VERSION: &str = "C-version";
pub(super) const NOTATION_SKIP: &str = "C-notation-skip";
pub(super) const NOTATION_MIXED: &str = "C-notation-mixed";
pub(super) const NOTATION_PROVIDER: &str = "C-notation-provider";
pub(super) const NOTATION_FILE: &str = "C-notation-file";
pub(super) const NOTATION_REVOCATION: &str = "C-notation-revocation";
pub(super) const NOTATION_TIME: &str = "C-notation-time";
pub(super) const NOTATION_PLUGIN_ERROR: &str = "C-notation-plugin-error";

pub(super) const ROWS: &[Row] = &[
    Row { id: FOREIGN_ARTIFACT, is: is_denied_as_foreign },
    Row { id: STORE_LIST, is: is_unread_list },
    Row {
        id: PLUGIN_REASON,
        is: |at| at.only_here() && (at.is_at("errorReason") || at.is_at("remediation")),
    },
    Row {
        id: PLUGIN_ERROR,
        is: |at| {
            at.is_at("extensions")
                && at.only_here()
                && at.here_text().starts_with("{\"pluginError\":{")
        },
    },
    Row {
        id: PLUGIN_OUTPUT,
        is: |at| {
            at.is_at("errorReason")
                && at.says("plugin failed with error: '", "plugin failed with error: '")
                && words(&at.v1_text()) == words(&at.here_text())
        },
    },
    Row {
        id: PLUGIN_NAMED,
        is: |at| {
            let is_name = |key| at.is_at(key) && (at.only_here() || at.v1_text() == "notation");
            ["name", "type", "verifierName", "verifierType"].into_iter().any(is_name)
        },
    },
    Row { id: PLUGIN_READ, is: is_read_after_all },
    Row {
        id: PLUGIN_UNREAD,
        is: |at| {
            at.is_at("errorReason")
                && !at.only_v1()
                && at.here_text().contains("the plugin printed ")
        },
    },
    Row {
        id: CONTROL_CHARACTERS,
        is: |at| {
            let readable = |text: &str| text.chars().all(|letter| !letter.is_control());
            at.is_at("message") && !readable(&at.v1_text()) && readable(&at.here_text())
        },
    },
    Row {
        id: PLUGIN_NAME,
        is: |at| at.is_at("error") && at.says("PLUGIN_NOT_FOUND", "CONFIG_INVALID: Invalid name ["),
    },
    Row {
        id: PLUGIN_INDEX,
        is: |at| match at.pointer.as_str() {
            "/error" => at.only_v1() && at.v1_text().contains("unsupported manifest media type"),
            "/exit" => at.says("1", "0"),
            pointer => pointer == "/stdout" && at.here_text().contains("\"isSuccess\":true"),
        },
    },
    Row {
        id: SOURCE_TAG,
        is: |at| {
            at.is_at("error") && at.here_text() == at.v1_text() + ": it needs a tag or a digest"
        },
    },
    Row {
        id: STORE_SOURCE,
        is: |at| {
            at.is_at("error")
                && at.v1_text() == "Error: DOWNLOAD_PLUGIN_FAILURE: "
                && at.here_text().starts_with("Error: DOWNLOAD_PLUGIN_FAILURE: Failed to download")
        },
    },
    Row {
        id: CONNECT_TEXT,
        is: |at| {
            let same_start =
                before(&at.v1_text(), ": Head \"") == before(&at.here_text(), ": HEAD \"");
            at.is_at("error") && same_start && at.says("connection refused", "Connection refused")
        },
    },
    Row {
        id: PASSING,
        is: |at| {
            at.is_at("status") && at.v1_text() == "200" && at.here_text() == "500"
                || at.is_at("systemError") && at.only_here()
                || at.is_at("items") && at.only_v1()
        },
    },
    Row { id: DECODE_TEXT, is: is_decoders_text },
    Row { id: NULL_CONFIG, is: |at| at.is_at("error") && at.says("CONFIG_INVALID", "found null") },
    Row {
        id: CONFIG_FILE,
        is: |at| at.is_at("error") && at.says(": is a directory", ": it is not a regular file"),
    },
    Row {
        id: BAD_BODY,
        is: |at| at.is_at("status") && at.v1_text() == "500" && at.here_text() == "400",
    },
    Row {
        id: REFERRER_DIGEST,
        is: |at| match at.pointer.as_str() {
            "/exit" => at.v1_text() == "2",
            pointer => ["/stdout", "/error"].contains(&pointer) && at.v1_text().is_empty(),
        },
    },
    Row {
        id: USAGE,
        is: |at| match at.pointer.as_str() {
            "/stdout" => at.v1_text().is_empty() && at.here_text().contains("Usage: "),
            pointer => pointer == "/error" && !at.only_v1() && !at.only_here(),
        },
    },
    Row {
        id: NOTATION_SKIP,
        is: |at| match at.pointer.as_str() {
            "/exit" => at.here_text() == "0",
            // v1 panics on one of its threads; another may come to an end before.
            "/stdout" => {
                at.v1_text().is_empty() || at.v1_text().contains("No verification results")
            }
            _ => false,
        },
    },
    Row {
        id: NOTATION_MIXED,
        is: |at| {
            let words =
                "The verificationCertStores is misconfigured with both legacy and new formats";
            at.is_at("error") && at.says(words, words)
        },
    },
    Row {
        id: NOTATION_PROVIDER,
        is: |at| {
            at.is_at("remediation") && at.only_here()
                || at.is_at("errorReason") && at.says(" is not namespaced", " does not exist")
        },
    },
    Row {
        id: NOTATION_FILE,
        is: |at| {
            let words = "error reading certificate file ";
            at.is_at("errorReason") && at.says(words, words) && at.says(": x509: ", ": x509: ")
        },
    },
    Row {
        id: NOTATION_REVOCATION,
        is: |at| {
            let words = "Mend what keeps revocation from being known: ";
            at.is_at("remediation") && at.only_here() && at.here_text().starts_with(words)
        },
    },
    Row {
        id: NOTATION_TIME,
        is: |at| {
            let words = "failed to verify the timestamp countersignature with error: failed to verify signed token: cms verification failure: ";
            let reason = "x509: certificate signed by unknown authority";
            at.is_at("errorReason") && at.says(words, words) && at.says(reason, reason)
        },
    },
    Row {
        id: NOTATION_PLUGIN_ERROR,
        is: |at| {
            let gos = "invalid character '";
            at.is_at("errorReason") && at.says(gos, ", and the plugin's error is malformed: ")
        },
    },
    Row { id: VERSION, is: |at| at.pointer == "/stdout" && at.says("Go version", "Rust version") },
];

fn is_denied_as_foreign(at: &Difference) -> bool {
    let here = at.here_text();
    if at.is_at("isSuccess") {
        return at.v1_text() == "true" && here != "true";
    }
    let reason = ["its manifest is attached to ", "its payload "];
    at.is_at("errorReason") && reason.iter().any(|start| here.starts_with(start))
        || at.is_at("message") && here.contains(" is no artifact of ")
        || at.is_at("remediation") && at.only_here()
}

fn is_unread_list(at: &Difference) -> bool {
    let named = ["name", "type", "verifierName", "verifierType"];
    at.is_at("errorReason") && at.here_text().starts_with("the plugin's answer is malformed: ")
        || at.is_at("message") && at.only_here()
        || named.iter().any(|key| at.is_at(key)) && at.only_v1()
}

fn is_read_after_all(at: &Difference) -> bool {
    at.is_at("isSuccess") && at.v1_text() != "true" && at.here_text() == "true"
        || at.is_at("errorReason") && at.only_v1()
        || (at.is_at("message") || at.is_at("extensions")) && at.only_here()
}

/// Both say the same up to where the decoder explains itself.
fn is_decoders_text(at: &Difference) -> bool {
    let gos = [
        "json: cannot unmarshal ",
        "unexpected end of JSON input",
        "invalid character '",
        ": map[",
    ];
    let (v1, here) = (at.v1_text(), at.here_text());
    let start = gos.iter().filter_map(|text| v1.find(text)).min();
    let is_text = at.is_at("error") || at.is_at("systemError");
    is_text && start.is_some_and(|start| here.starts_with(&v1[..start]))
}

fn before<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end).map_or(text, |at| &text[..at])
}

/// A text without what differs from one process to the next: spaces, and numbers of processes.
fn words(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace() && !letter.is_ascii_digit()).collect()
}
