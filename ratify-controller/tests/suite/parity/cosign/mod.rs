//! Signatures that the real `cosign` made, judged by v1.4.0 and by the built-in verifier, on the same
//! images and by the same configurations. Every difference must be a row of docs/COMPATIBILITY.md,
//! section "The verifier cosign".
//!
//! - `signing`: keys, images and signatures of foreign programs;
//! - `sigstore`: an authority and a log, for cosign and for both hosts;
//! - `cases`: what is asked;
//! - `clocks`, `stamped`: signatures with the time of an authority, and what is asked of them.

mod cases;
mod clocks;
mod signing;
pub(crate) mod sigstore;
mod stamped;

use super::{
    compare::Difference,
    judge_by,
    lab::{Host, Lab, Run},
    rows::Row,
};
use cases::{Case, cases};
use futures_util::{StreamExt, stream};
use signing::Signed;

/// The deliberate differences that can be seen here.
const ROWS: &[Row] = &[
    Row { id: cases::CLAIMS, is: is_of_claims },
    Row { id: cases::ANY_LAYER, is: passes_here },
    Row { id: cases::NEW_HASH, is: passes_here },
    Row { id: cases::LOG_TEXT, is: is_of_another_key },
    Row { id: cases::OTHER_IMAGE, is: passes_in_v1 },
    Row { id: cases::FOREIGN, is: is_foreign },
];

/// What a summary may say, the first of it here alone.
const SUMMARY: [&str; 4] = [
    "The cosign claims were validated.",
    "Existence of the claims in the transparency log was verified offline.",
    "The signatures were verified against the specified public key.",
    "The code-signing certificate was verified using trusted certificate authority certificates.",
];

/// What the summary says of what was compared.
fn is_of_claims(at: &Difference) -> bool {
    let is_summary = at.pointer.contains("/summary/");
    // What v1 says, too, is one place further on.
    is_summary && SUMMARY.contains(&at.here_text().as_str())
}

/// All of a report that is good here and bad in v1.
fn passes_here(at: &Difference) -> bool {
    is_of_claims(at)
        || match at.pointer.rsplit('/').next() {
            Some("isSuccess") => at.here_text() == "true",
            Some("message") => at.here_text().starts_with("Verification success"),
            Some("errorReason" | "error") => at.only_v1(),
            Some("summary") => at.only_here(),
            _ => false,
        }
}

/// All of a report that is good in v1 and bad here.
fn passes_in_v1(at: &Difference) -> bool {
    match at.pointer.rsplit('/').next() {
        Some("isSuccess") => at.v1_text() == "true",
        Some("message") => at.v1_text().starts_with("Verification success"),
        Some("errorReason") => at.here_text() == "no valid Cosign signatures found",
        Some("error") => at.here_text().starts_with("invalid or missing digest in claim: sha256:"),
        Some("summary") => at.only_v1(),
        _ => false,
    }
}

/// v1 prints both keys in full.
fn is_of_another_key(at: &Difference) -> bool {
    at.is_at("error") && at.says("comparing public key PEMs", "the public key in the bundle is not")
}

/// What lies under the tag of another image is not even given to a verifier.
fn is_foreign(at: &Difference) -> bool {
    at.pointer.contains("/verifierReports/0/") || at.is_at("isSuccess")
}

#[tokio::test]
async fn signatures_of_the_real_cosign_are_judged_as_by_v1_but_for_the_rows_and_by_a_process() {
    let Some(lab) = Lab::start().await else { return };
    let signed = Signed::make(&lab).await;
    let (lab, signed) = (&lab, &signed);
    let only = std::env::var("PARITY_ONLY").unwrap_or_default();
    let ask = |case: Case| async move {
        let run = Run {
            name: case.name,
            config: Some(case.config.to_string()),
            arguments: ["verify", "--subject", &case.subject].map(str::to_owned).to_vec(),
            dynamic: false,
            exact: false,
        };
        let here = lab.outcome(Host::Here, &run).await;
        let mut wrong = Vec::new();
        if here["stdout"]["isSuccess"] == true && !case.passes {
            wrong.push(format!("{}: it passes", case.name));
        }
        if here["stdout"]["isSuccess"] != true && case.passes {
            wrong.push(format!("{}: it does not pass: {here}", case.name));
        }
        if case.is_of_v1_too {
            let v1 = lab.outcome(Host::V1, &run).await;
            wrong.extend(judge_by(ROWS, case.name, case.rows, &v1, &here));
        }
        wrong.extend(cases::FORMS.compare(lab, &run).await);
        wrong
    };
    let cases = cases(signed).into_iter().filter(|case| case.name.contains(&only));
    let wrong: Vec<Vec<String>> = stream::iter(cases.map(ask)).buffered(2).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
