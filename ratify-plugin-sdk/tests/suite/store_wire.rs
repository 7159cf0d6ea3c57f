//! Every transcript of a store that was recorded from v1's own sample.

use bytes::Bytes;
use ratify_plugin_sdk::{
    Descriptor, Digest, ListReferrersOutput, Manifest, Reference, Result, StorePlugin, proof,
    testing,
};
use serde_json::{Map, Value};

use crate::transcript;

const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// v1's sample. Where v1's has an artifact without a digest, this one takes the digest of nothing.
struct Sample {
    fails: bool,
}

impl StorePlugin for Sample {
    type Parameters = Map<String, Value>;

    fn new(parameters: Self::Parameters) -> Result<Self> {
        Ok(Self { fails: parameters.contains_key("fails") })
    }

    fn list_referrers(
        &self,
        _: &Reference,
        types: &[String],
        next: &str,
    ) -> Result<ListReferrersOutput> {
        let artifact = Descriptor::new("", EMPTY.parse()?, 0)
            .with_artifact_type(types.first().cloned().unwrap_or_default());
        Ok(ListReferrersOutput::new(vec![artifact], next))
    }

    fn manifest(&self, _: &Reference, _: &Digest) -> Result<Manifest> {
        Ok(Manifest::new("testMediaType", "testArtifactType"))
    }

    fn blob(&self, _: &Reference, digest: &Digest) -> Result<Bytes> {
        if self.fails {
            return Err("no such blob".into());
        }
        Ok(digest.to_string().into())
    }

    fn descriptor(&self, subject: &Reference) -> Result<Descriptor> {
        let tag = subject.tag().unwrap_or_default();
        Ok(Descriptor::new("", proof::sha256(tag.as_bytes()), 0))
    }
}

fn run_with(command: &str, args: &str, version: &str, subject: &str, stdin: &str) -> String {
    let variables = [
        ("RATIFY_STORE_COMMAND", command),
        ("RATIFY_STORE_SUBJECT", subject),
        ("RATIFY_STORE_VERSION", version),
        ("RATIFY_STORE_ARGS", args),
    ];
    transcript(&testing::run_store::<Sample>(&variables, stdin.as_bytes()))
}

fn run(command: &str, args: &str) -> String {
    run_with(command, args, "1.0.0", "registry.example.com/app:v1", r#"{"name":"sample"}"#)
}

#[test]
fn answers_each_command() {
    insta::assert_snapshot!(run("LISTREFERRERS", "nextToken=;artifactTypes=a/b,c/d"), @r#"
    exit 0
    -- stdout
    {"referrers":[{"mediaType":"","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"artifactType":"a/b"}],"nextToken":""}

    -- stderr
    "#);
    insta::assert_snapshot!(run("GETBLOB", &format!("digest={EMPTY}")), @r#"
    exit 0
    -- stdout
    sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    -- stderr
    "#);
    insta::assert_snapshot!(run("GETREFMANIFEST", &format!("digest={EMPTY}")), @r#"
    exit 0
    -- stdout
    {"mediaType":"testMediaType","artifactType":"testArtifactType","blobs":[]}

    -- stderr
    "#);
    insta::assert_snapshot!(run("GETSUBJECTDESCRIPTOR", ""), @r#"
    exit 0
    -- stdout
    {"mediaType":"","digest":"sha256:3bfc269594ef649228e9a74bab00f042efc91d5acc6fbee31a382e80d42388fe","size":0}

    -- stderr
    "#);
}

#[test]
fn a_page_token_with_padding_is_taken_where_v1_refuses_it() {
    insta::assert_snapshot!(run("LISTREFERRERS", "nextToken=abc==;artifactTypes="), @r#"
    exit 0
    -- stdout
    {"referrers":[{"mediaType":"","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}],"nextToken":"abc=="}

    -- stderr
    "#);
}

#[test]
fn refuses_arguments_with_v1s_texts() {
    insta::assert_snapshot!(run("BOGUS", "x"), @r#"
    exit 1
    -- stdout
    {
        "code": 3,
        "msg": "unknown RATIFY_STORE_COMMAND: BOGUS"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run("GETBLOB", "digest=x"), @r#"
    exit 1
    -- stdout
    {
        "code": 7,
        "msg": "cannot parse digest arg x",
        "details": "invalid checksum digest format"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run("GETBLOB", "foo=x"), @r#"
    exit 1
    -- stdout
    {
        "code": 7,
        "msg": "unknown args foo"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run("LISTREFERRERS", "nextToken"), @r#"
    exit 1
    -- stdout
    {
        "code": 7,
        "msg": "error parsing args",
        "details": "PLUGIN ARGS: invalid kv pair \"nextToken\""
    }
    -- stderr
    "#);
}

#[test]
fn arguments_may_be_missing_only_where_there_are_none() {
    insta::assert_snapshot!(run_with("", "", "", "", ""), @r#"
    exit 1
    -- stdout
    {
        "code": 4,
        "msg": "missing env variables [RATIFY_STORE_COMMAND,RATIFY_STORE_VERSION,RATIFY_STORE_SUBJECT,RATIFY_STORE_ARGS]"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run("GETBLOB", ""), @r#"
    exit 1
    -- stdout
    {
        "code": 4,
        "msg": "missing env variables [RATIFY_STORE_ARGS]"
    }
    -- stderr
    "#);
}

#[test]
fn checks_subject_version_and_input_in_this_order() {
    let input = r#"{"name":"sample"}"#;
    insta::assert_snapshot!(run_with("GETBLOB", "x", "2.0.0", "REG/APP::", input), @r#"
    exit 1
    -- stdout
    {
        "code": 7,
        "msg": "cannot parse subject reference REG/APP::",
        "details": "REFERENCE_INVALID: failed to parse subject reference"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run_with("GETBLOB", "x", "2.0.0", "reg.io/a", "{"), @r#"
    exit 1
    -- stdout
    {
        "code": 6,
        "msg": "plugin doesn't support version 2.0.0"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run_with("BOGUS", "x", "1.0.0", "reg.io/a", "{"), @r#"
    exit 1
    -- stdout
    {
        "code": 1,
        "msg": "error unmarshall store config: unexpected end of JSON input"
    }
    -- stderr
    "#);
    insta::assert_snapshot!(run_with("BOGUS", "x", "1.0.0", "reg.io/a", "{}"), @r#"
    exit 1
    -- stdout
    {
        "code": 2,
        "msg": "missing store name"
    }
    -- stderr
    "#);
}

#[test]
fn a_failed_command_is_named_by_its_own_name() {
    let failing = r#"{"config":{"name":"sample","fails":true}}"#;
    let args = format!("digest={EMPTY}");
    insta::assert_snapshot!(run_with("GETBLOB", &args, "1.0.0", "reg.io/a", failing), @r#"
    exit 1
    -- stdout
    {
        "code": 8,
        "msg": "plugin command GETBLOB failed",
        "details": "no such blob"
    }
    -- stderr
    "#);
}
