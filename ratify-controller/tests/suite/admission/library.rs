//! The constraint templates of Ratify v1, as they are: each admits and refuses what its text says.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::judge::Judge;

/// Those that ask what all verifiers together say.
const VERDICTS: [&str; 2] = ["default/template.yaml", "multi-tenancy-validation/template.yaml"];
/// What two templates tell to change where what is judged has to be signed itself.
const UNSIGNED: &str = "default require_signature := false";
const SIGNED: &str = "default require_signature := true";

/// A template that asks what single verifiers say, and what comes of images.
struct Single {
    path: &'static str,
    parameters: Value,
    admitted: &'static [&'static str],
    refused: &'static [(&'static str, &'static str)],
    /// The same where signatures are wanted.
    signed: Option<[&'static [&'static str]; 2]>,
}

pub(super) async fn every_template_decides_as_it_says(judge: &Judge) {
    let singles = singles();
    let tested = singles.iter().map(|single| single.path).chain(VERDICTS);
    assert_eq!(tested.map(str::to_owned).collect::<BTreeSet<_>>(), judge.library());
    all_verifiers(judge).await;
    let singles = singles.iter().enumerate();
    join_all(singles.map(async |(number, single)| single_verifiers(judge, number, single).await))
        .await;
}

/// What they admit for want of a verdict is what an answer must never be: without an item and without an
/// error of the system, or of another form.
async fn all_verifiers(judge: &Judge) {
    judge.apply(&judge.of_v1(VERDICTS[0]), "stock", &json!({})).await;
    let refused = [
        (
            "unsigned",
            "failed to verify the artifact: registry.example.com/unsigned:v1, trace-id: t1",
        ),
        ("forbidden", "failed to verify the artifact: registry.example.com/forbidden:v1"),
        ("evidence", "failed to verify the artifact: registry.example.com/evidence:v1"),
        ("failed", "Error validating one or more images: "),
        ("contested", "Error validating one or more images: "),
        ("unfinished", "System error calling external data provider: ask again"),
        ("finished--stock", "System error calling external data provider: ask again"),
        ("sick", "System error calling external data provider: "),
    ];
    judge.expect("stock", &["good", "absent", "another", "mute", "spoken", "text"], &refused).await;
    judge.apply(&judge.of_v1(VERDICTS[1]), "tenants2", &json!({})).await;
    let refused =
        [("forbidden", "failed to verify the artifact: [tenants2]"), ("tenants", "whose?")];
    judge.expect("tenants2", &["good"], &refused).await;
}

async fn single_verifiers(judge: &Judge, number: usize, single: &Single) {
    let template = judge.of_v1(single.path);
    let namespace = format!("single-{number}");
    judge.apply(&template, &namespace, &single.parameters).await;
    let finished = format!("finished--{number}");
    let late = [("unfinished", "ask again"), (&*finished, "ask again")];
    judge.expect(&namespace, single.admitted, single.refused).await;
    judge.expect(&namespace, &[], &late).await;
    let Some([admitted, refused]) = single.signed else { return };
    assert!(template.contains(UNSIGNED), "{template}");
    let namespace = format!("signed-{number}");
    judge.apply(&template.replace(UNSIGNED, SIGNED), &namespace, &single.parameters).await;
    let refused = refused.iter().map(|name| (*name, "Subject failed "));
    judge.expect(&namespace, admitted, &refused.collect::<Vec<_>>()).await;
}

fn singles() -> [Single; 5] {
    let parameters = json!({});
    [
        Single {
            path: "notation-validation/template.yml",
            parameters: parameters.clone(),
            admitted: &["good", "one-signature-of-two"],
            refused: &[("forbidden", "all signatures"), ("boms", "all signatures")],
            signed: None,
        },
        Single {
            path: "notation-issuer-validation/template.yaml",
            parameters: json!({"issuer": "CN=us"}),
            admitted: &["good"],
            refused: &[
                ("forbidden", "failed signature validation: GPL-3.0 is forbidden"),
                ("of-another-issuer", "has no signatures for certificate with Issuer: CN=us"),
                ("one-signature-of-two", "Failed to verify the artifact"),
            ],
            signed: None,
        },
        Single {
            path: "notation-nested-validation/template.yaml",
            parameters: parameters.clone(),
            admitted: &["good", "signed-bom-and-image"],
            refused: &[
                ("forbidden", "Failed to verify the artifact"),
                ("signed-bom", "Failed to verify the artifact"),
                ("badly-signed-bom-and-image", "Failed to verify the artifact"),
            ],
            signed: None,
        },
        Single {
            path: "sbom-validation/template.yaml",
            parameters: parameters.clone(),
            admitted: &["boms", "signed-bom"],
            refused: &[("bad-boms", "SBOM verification"), ("good", "SBOM verification")],
            signed: Some([&["signed-bom"], &["boms", "badly-signed-sbom"]]),
        },
        Single {
            path: "vulnerability-report-validation/template.yaml",
            parameters,
            admitted: &["scans", "signed-scan", "better-of-late"],
            refused: &[
                ("bad-scans", "failed vulnerability report verification"),
                ("worse-of-late", "failed vulnerability report verification"),
                ("good", "failed vulnerability report verification"),
            ],
            signed: Some([&["signed-scan"], &["scans", "better-of-late"]]),
        },
    ]
}
