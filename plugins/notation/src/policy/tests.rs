//! Documents that are policies, and documents that are none.

use serde_json::{Value, json};

use super::*;

fn statement() -> Value {
    json!({
        "name": "default",
        "registryScopes": ["*"],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:certs"],
        "trustedIdentities": ["*"]
    })
}

fn with(changes: Value) -> Value {
    let mut statement = statement();
    for (key, value) in changes.as_object().unwrap() {
        statement[key] = value.clone();
    }
    json!({"version": "1.0", "trustPolicies": [statement]})
}

fn read(changes: Value) -> Result<TrustPolicy, String> {
    TrustPolicy::read(&with(changes)).map_err(|error| error.to_string())
}

#[test]
fn the_statement_that_names_a_repository_comes_before_the_one_for_all() {
    let (mut one, mut all) = (statement(), statement());
    one["name"] = "one".into();
    one["registryScopes"] = json!(["reg.io/a", "localhost:5000/b"]);
    all["name"] = "all".into();
    let policy =
        TrustPolicy::read(&json!({"VERSION": "1.0", "trustpolicies": [all, one]})).unwrap();
    let name = |repository: &str| policy.statement_for(repository, "r").unwrap().name.clone();
    assert_eq!(name("reg.io/a"), "one");
    assert_eq!(name("localhost:5000/b"), "one");
    assert_eq!(name("reg.io/a/b"), "all");
    assert!(policy.statement_for("[::1]/a", "r").is_err());
    let policy = read(json!({"registryScopes": ["reg.io/a"]})).unwrap();
    let none = policy.statement_for("reg.io/b", "reg.io/b@sha256:0").unwrap_err();
    insta::assert_snapshot!(none, @r#"artifact "reg.io/b@sha256:0" has no applicable trust policy statement. Trust policy applicability for a given artifact is determined by registryScopes. To create a trust policy, see: https://notaryproject.dev/docs/quickstart/#create-a-trust-policy"#);
}

#[test]
fn a_level_can_be_changed_check_by_check() {
    let level = |verification: Value| {
        let policy = read(json!({"signatureVerification": verification})).unwrap();
        let level = policy.statements[0].level.clone();
        [
            Check::Integrity,
            Check::Authenticity,
            Check::AuthenticTimestamp,
            Check::Expiry,
            Check::Revocation,
        ]
        .map(|check| level.action(check))
    };
    use Action::{Enforce, Log, Skip};
    assert_eq!(level(json!({"level": "strict"})), [Enforce; 5]);
    assert_eq!(level(json!({"level": "permissive"})), [Enforce, Enforce, Log, Log, Log]);
    assert_eq!(level(json!({"level": "audit"})), [Enforce, Log, Log, Log, Log]);
    let custom =
        json!({"level": "audit", "override": {"authenticity": "enforce", "revocation": "skip"}});
    assert_eq!(level(custom), [Enforce, Enforce, Log, Log, Skip]);
    let skip = json!({"signatureVerification": {"level": "skip"}, "trustStores": [], "trustedIdentities": null});
    assert!(read(skip).unwrap().statements[0].level.is_skip());
}

#[test]
fn stores_are_named_by_type_each_once() {
    let policy = read(json!({"trustStores": ["ca:a", "tsa:b", "ca:a", "ca:c"]})).unwrap();
    let statement = &policy.statements[0];
    assert_eq!(statement.stores_of(TrustStoreType::Ca), ["a", "c"]);
    assert_eq!(statement.stores_of(TrustStoreType::Tsa), ["b"]);
    assert!(statement.stores_of(TrustStoreType::SigningAuthority).is_empty());
}

#[test]
fn refusals_of_documents_are_notation_gos() {
    let refusal = |document: Value| TrustPolicy::read(&document).unwrap_err().to_string();
    insta::assert_snapshot!(refusal(json!({})), @"trust policy document has empty version, version must be specified");
    insta::assert_snapshot!(refusal(json!({"version": "2.0"})), @r#"trust policy document uses unsupported version "2.0""#);
    insta::assert_snapshot!(refusal(json!({"version": "1.0", "trustPolicies": null})), @"trust policy document can not have zero trust policy statements");
    insta::assert_snapshot!(refusal(json!({"version": "1.0", "trustPolicies": [statement(), statement()]})), @r#"multiple trust policy statements use the same name "default", statement names must be unique"#);
    let mut second = statement();
    second["name"] = "second".into();
    insta::assert_snapshot!(refusal(json!({"version": "1.0", "trustPolicies": [statement(), second]})), @r#"registry scope "*" is present in multiple trust policy statements, one registry scope value can only be associated with one statement"#);
    insta::assert_snapshot!(refusal(json!({"version": "1.0", "Version": "1.0"})), @"the trust policy has version in two spellings");
    insta::assert_snapshot!(refusal(json!([])), @"trustPolicyDoc of the trust policy must be an object");
}

#[test]
fn refusals_of_statements_are_notation_gos() {
    let refusal = |changes: Value| read(changes).unwrap_err();
    let verification =
        |verification: Value| refusal(json!({"signatureVerification": verification}));
    insta::assert_snapshot!(refusal(json!({"name": ""})), @"trust policy: a trust policy statement is missing a name, every statement requires a name");
    insta::assert_snapshot!(verification(json!({})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: signature verification level is empty or missing in the trust policy statement"#);
    insta::assert_snapshot!(verification(json!({"level": "Strict"})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: invalid signature verification level "Strict""#);
    insta::assert_snapshot!(verification(json!({"level": "skip", "override": {"expiry": "log"}})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: signature verification level "skip" can't be used to customize signature verification"#);
    insta::assert_snapshot!(verification(json!({"level": "strict", "override": {"x": "log"}})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: verification type "x" in custom signature verification is not supported, supported values are ["integrity" "authenticity" "authenticTimestamp" "expiry" "revocation"]"#);
    insta::assert_snapshot!(verification(json!({"level": "strict", "override": {"expiry": "x"}})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: verification action "x" in custom signature verification is not supported, supported values are ["enforce" "log" "skip"]"#);
    insta::assert_snapshot!(verification(json!({"level": "strict", "override": {"integrity": "log"}})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: "integrity" verification can not be overridden in custom signature verification"#);
    insta::assert_snapshot!(verification(json!({"level": "strict", "override": {"expiry": "skip"}})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: "expiry" verification can not be skipped in custom signature verification"#);
    insta::assert_snapshot!(verification(json!({"level": "strict", "verifyTimestamp": "never"})), @r#"trust policy: trust policy statement "default" has invalid signatureVerification: verifyTimestamp must be "always" or "afterCertExpiry", but got "never""#);
    insta::assert_snapshot!(verification(json!({"level": "skip"})), @r#"trust policy: trust policy statement "default" is set to skip signature verification but configured with trust stores and/or trusted identities, remove them if signature verification needs to be skipped"#);
    insta::assert_snapshot!(refusal(json!({"trustStores": []})), @r#"trust policy: trust policy statement "default" is either missing trust stores or trusted identities, both must be specified"#);
    insta::assert_snapshot!(refusal(json!({"trustStores": ["certs"]})), @r#"trust policy: trust policy statement "default" has malformed trust store value "certs". The required format is <TrustStoreType>:<TrustStoreName>"#);
    insta::assert_snapshot!(refusal(json!({"trustStores": ["signingauthority:certs"]})), @r#"trust policy: trust policy statement "default" uses an unsupported trust store type "signingauthority" in trust store value "signingauthority:certs""#);
    insta::assert_snapshot!(refusal(json!({"trustStores": ["ca:../x"]})), @r#"trust policy: trust policy statement "default" uses an unsupported trust store name "../x" in trust store value "ca:../x". Named store name needs to follow [a-zA-Z0-9_.-]+ format"#);
    insta::assert_snapshot!(refusal(json!({"registryScopes": []})), @r#"trust policy statement "default" has zero registry scopes, it must specify registry scopes with at least one value"#);
    insta::assert_snapshot!(refusal(json!({"registryScopes": ["*", "reg.io/a"]})), @r#"trust policy statement "default" uses wildcard registry scope '*', a wildcard scope cannot be used in conjunction with other scope values"#);
}

#[test]
fn refusals_of_identities_are_notation_gos_and_others_prefixes_are_left_alone() {
    let refusal = |identities: Value| read(json!({"trustedIdentities": identities})).unwrap_err();
    insta::assert_snapshot!(refusal(json!(["*", "x509.subject: C=US"])), @r#"trust policy: trust policy statement "default" uses a wildcard trusted identity '*', a wildcard identity cannot be used in conjunction with other values"#);
    insta::assert_snapshot!(refusal(json!([""])), @r#"trust policy: trust policy statement "default" has an empty trusted identity"#);
    insta::assert_snapshot!(refusal(json!(["x"])), @r#"trust policy: trust policy statement "default" has trusted identity "x" missing separator"#);
    insta::assert_snapshot!(refusal(json!(["x509.subject:"])), @r#"trust policy: trust policy statement "default" has trusted identity "x509.subject:" without an identity value"#);
    insta::assert_snapshot!(refusal(json!(["x509.subject: C=US"])), @r#"trust policy: trust policy statement "default" has trusted identity "x509.subject: C=US" with invalid identity value: distinguished name (DN) " C=US" has no mandatory RDN attribute for "ST", it must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum"#);
    insta::assert_snapshot!(refusal(json!(["x509.subject: C=US,ST=WA,O=a", "x509.subject: C=US,ST=WA,O=a,CN=b"])), @r#"trust policy: trust policy statement "default" has overlapping x509 trustedIdentities, "x509.subject: C=US,ST=WA,O=a" overlaps with "x509.subject: C=US,ST=WA,O=a,CN=b""#);
    let others =
        json!(["arn:aws:signer:us-west-2:1:/signing-profiles/x", "x509.subject: C=US,ST=WA,O=a"]);
    assert!(read(json!({"trustedIdentities": others})).is_ok());
}
