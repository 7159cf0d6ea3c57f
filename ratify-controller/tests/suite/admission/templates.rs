//! The constraint templates of `docs/gatekeeper` and those of Ratify v1, judged by real Gatekeeper over
//! whatever a provider may answer.

use serde_json::json;

use super::{
    answers::{SBOM, SIGNATURE},
    judge::Judge,
    library,
};

const VERIFICATION: &str = include_str!("../../../../docs/gatekeeper/verification.yaml");
const REPORTS: &str = include_str!("../../../../docs/gatekeeper/reports.yaml");

/// What no template of ours admits.
const NO_VERDICT: [(&str, &str); 12] = [
    ("absent", "absent:v1 is refused: Ratify has no verdict for it yet; ask again"),
    ("another", "another:v1 is refused: Ratify has no verdict for it yet; ask again"),
    ("unfinished", "Ratify's answer is not whole: ask again"),
    ("finished", "Ratify's answer is not whole: ask again"),
    ("sick", "Ratify's answer is not whole: failed to unmarshal external data response"),
    ("failed", "failed:v1 is refused: it could not be verified: the registry says 403"),
    ("twice", "twice:v1 is refused: "),
    ("contested", "contested:v1 is refused: it could not be verified: the registry says 403"),
    ("text", "text:v1 is refused: "),
    ("nothing", "nothing:v1 is refused: "),
    ("mute", "mute:v1 is refused: "),
    ("spoken", "spoken:v1 is refused: "),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_admits_what_is_proven_and_nothing_else() {
    let Some(judge) = Judge::start().await else { return };
    verification(&judge).await;
    parameters(&judge).await;
    reports(&judge).await;
    library::every_template_decides_as_it_says(&judge).await;
}

async fn verification(judge: &Judge) {
    judge.apply(VERIFICATION, "verdicts", &json!({})).await;
    judge.expect("verdicts", &["good"], &NO_VERDICT).await;
    let refused = [
        ("unsigned", "unsigned:v1 is refused: nothing is attached: none (trace id t1)"),
        ("forbidden", "is refused: verifier licences: GPL-3.0 is forbidden (trace id t1)"),
        ("nested", "is refused: verifier inner: not signed; verifier sbom: nested (trace id t1)"),
        ("many", "xxx; and 6 more (trace id t1)"),
        ("evidence", "is refused: no report is against it, and the policy does not admit it"),
        ("two-boms", "is refused: verifier sbom: m (trace id t2)"),
        ("empty", "is refused: Ratify does not say that it is good (trace id t2)"),
    ];
    judge.expect("verdicts", &[], &refused).await;
    let long = judge.judge("verdicts", "many").await.unwrap_err();
    assert!(long.len() < 3000, "{}", long.len());
}

/// Who is asked, and for whom.
async fn parameters(judge: &Judge) {
    let other = json!({"provider": "other-provider"});
    judge.apply(VERIFICATION, "others", &other).await;
    judge.expect("others", &["good"], &[("tenants", "could not be verified: whose?")]).await;
    judge.apply(VERIFICATION, "nobody", &json!({"provider": "no-provider"})).await;
    judge
        .expect("nobody", &[], &[("good", "Ratify's answer is not whole: key is not found")])
        .await;
    judge.apply(VERIFICATION, "tenants", &json!({"perNamespace": true})).await;
    judge.expect("tenants", &["tenants", "good"], &[("forbidden", "GPL-3.0")]).await;
    judge.apply(VERIFICATION, "strangers", &json!({"perNamespace": true})).await;
    judge.expect("strangers", &["good"], &[("tenants", "could not be verified: whose?")]).await;
}

async fn reports(judge: &Judge) {
    let require = json!({"provider": "reports-provider", "require": [
        {"artifactType": SIGNATURE},
        {"artifactType": SBOM, "verifier": "sbom", "all": true, "signature": SIGNATURE},
    ]});
    judge.apply(REPORTS, "reports", &require).await;
    judge.expect("reports", &["evidence", "one-of-two"], &NO_VERDICT).await;
    let lacks = |of: &str| format!("is refused: it lacks what is required of {of}");
    let (sbom, both) = (lacks(SBOM), lacks(&format!("{SBOM}; {SIGNATURE}")));
    let refused = [
        ("two-boms", sbom.as_str()),
        ("two-boms", "verifier sbom: m (trace id t2)"),
        ("bare-bom", &sbom),
        ("badly-signed-bom", &sbom),
        ("no-bom", &sbom),
        ("unjudged", &sbom),
        ("of-others", &sbom),
        ("empty", &both),
        ("good", "the answer has no reports of single artifacts: the policy is no Rego policy"),
    ];
    judge.expect("reports", &[], &refused).await;
}
