//! Exec stores as the executor sees them: four commands, and bytes that are proven.

use std::{path::PathBuf, sync::Arc};

use ratify_controller::plugin::{exec::Program, store::ExecStore};
use ratify_core::{
    Algorithm, Binding, Context, Descriptor, Digest, Reference, ReferrerStore,
    config::StorePluginConfig,
};
use ratify_store_oras::digest_of;
use serde_json::{Value, json};

use super::{in_ms, runner, script};

/// Bytes that are no text, and no newline at the end.
const BLOB: &[u8] = b"\0\x01\xff{\"a\":1}\r\n\x80";

/// A store in shell. `$DIR` is where it lies; each command notes what it was told.
const STORE: &str = r#"
DIR=${0%/*}
{ env | grep ^RATIFY_STORE | sort; cat; echo; } > $DIR/told
case $RATIFY_STORE_COMMAND in
GETSUBJECTDESCRIPTOR) echo "{\"mediaType\":\"m\",\"digest\":\"$(cat $DIR/subject)\",\"size\":7}";;
LISTREFERRERS) cat $DIR/list;;
GETREFMANIFEST) echo '{"mediaType":"m","artifactType":"a/b","blobs":null}';;
GETBLOB) echo 'INFO: a log line' >&2; cat $DIR/blob;;
esac"#;

struct Place {
    dir: tempfile::TempDir,
    store: ExecStore,
}

impl Place {
    fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "s", body);
        let entry = json!({"name": "s", "k": 1000.0});
        let config = StorePluginConfig::from_entry(entry.as_object().unwrap(), "1.0.0").unwrap();
        let dirs: Vec<PathBuf> = vec![dir.path().to_owned()];
        let told = vec!["/opt/p".to_owned()];
        let program = Program::Search { name: "s".into(), dirs };
        let store = ExecStore::new(&config, told, program, runner());
        let place = Self { dir, store };
        place.write("blob", BLOB);
        place.write("subject", subject_digest().as_str().as_bytes());
        place
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn told(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("told")).unwrap()
    }

    async fn list(&self, list: &Value, token: &str) -> Result<ratify_core::ReferrerPage, String> {
        self.write("list", format!("{list}\n").as_bytes());
        let types = ["a/b".to_owned(), "c/d".to_owned()];
        let described = Descriptor::new("m", subject_digest(), 7);
        let page = self
            .store
            .list_referrers(&tagged(), &described, &types, token, &Context::default())
            .await;
        page.map_err(|error| error.to_string())
    }

    async fn blob(&self, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, String> {
        let blob = self.store.blob(&tagged(), digest, size, &Context::default()).await;
        blob.map(Into::into).map_err(|error| error.to_string())
    }
}

fn subject_digest() -> Digest {
    digest_of(Algorithm::Sha256, b"subject")
}

fn tagged() -> Reference {
    Reference::parse("registry.example.com/app:v1").unwrap()
}

#[tokio::test]
async fn a_store_is_told_what_v1_tells_it_for_each_command() {
    let place = Place::new(STORE);
    let found = place.store.resolve(&tagged(), &Context::default()).await.unwrap();
    assert_eq!((found.digest, found.size), (subject_digest(), 7));
    insta::assert_snapshot!(place.told(), @r#"
    RATIFY_STORE_ARGS=
    RATIFY_STORE_COMMAND=GETSUBJECTDESCRIPTOR
    RATIFY_STORE_SUBJECT=registry.example.com/app:v1
    RATIFY_STORE_VERSION=1.0.0
    {"k":1000,"name":"s"}
    "#);
    let digest = digest_of(Algorithm::Sha256, b"a");
    let page = place
        .list(&json!({"referrers": [{"mediaType": "m", "digest": digest, "size": 1, "artifactType": "a/b"}], "nextToken": "abc=="}), "")
        .await
        .unwrap();
    assert_eq!(page.referrers[0].binding, Binding::Store);
    assert_eq!(page.referrers[0].descriptor.artifact_type, "a/b");
    assert_eq!(page.next_token, "abc==");
    place.list(&json!({"referrers": null}), "abc==").await.unwrap();
    assert!(place.told().contains("RATIFY_STORE_ARGS=nextToken=abc==;artifactTypes=a/b,c/d\n"));
    let artifact = Descriptor::new("m", digest.clone(), 1);
    let manifest = place.store.manifest(&tagged(), &artifact, &Context::default()).await.unwrap();
    assert_eq!((manifest.artifact_type.as_str(), manifest.blobs.len()), ("a/b", 0));
    assert!(place.told().contains(&format!("RATIFY_STORE_ARGS=digest={digest}\n")));
    assert_eq!(place.store.config().plugin_bin_dirs, Some(vec!["/opt/p".into()]));
}

#[tokio::test]
async fn binary_blobs_arrive_as_they_are() {
    let place = Place::new(STORE);
    for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
        let digest = digest_of(algorithm, BLOB);
        let size = Some(BLOB.len() as u64);
        assert_eq!(place.blob(&digest, size).await.unwrap(), BLOB);
        assert_eq!(place.blob(&digest, None).await.unwrap(), BLOB);
    }
    // Several pipes full.
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 7) as u8).collect();
    place.write("blob", &large);
    assert_eq!(place.blob(&digest_of(Algorithm::Sha256, &large), None).await.unwrap(), large);
}

#[tokio::test]
async fn other_bytes_are_refused() {
    let place = Place::new(STORE);
    let digest = digest_of(Algorithm::Sha256, BLOB);
    place.write("blob", b"other");
    let error = place.blob(&digest, None).await.unwrap_err();
    insta::assert_snapshot!(error, @"GET_BLOB_CONTENT_FAILURE: blob sha256:d972c2ce1b883fd3886c978e4d7d77c4d9e02ceb0247cf88675707cb7a037a55 of store s: the store gave other bytes, of digest sha256:d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa");
    let error = place.blob(&digest, Some(4)).await.unwrap_err();
    assert!(error.contains("the store gave 5 bytes where 4 are listed"), "{error}");
    place.write("blob", &[0; 100]);
    let error = place.blob(&digest, Some(4)).await.unwrap_err();
    assert!(error.contains("it wrote more than 5 bytes to standard output"), "{error}");
    let error = place.blob(&digest, Some(1 << 30)).await.unwrap_err();
    assert!(error.contains("at most 67108864 are taken"), "{error}");
}

#[tokio::test]
async fn a_pinned_subject_cannot_become_another_one() {
    let place = Place::new(STORE);
    let asked = tagged().with_digest(digest_of(Algorithm::Sha256, b"another"));
    let error = place.store.resolve(&asked, &Context::default()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("GET_SUBJECT_DESCRIPTOR_FAILURE: store s was asked for sha256:"),
        "{error}"
    );
}

#[tokio::test]
async fn lists_that_make_no_sense_are_refused() {
    let place = Place::new(STORE);
    let entry = |digest: &str| json!({"referrers": [{"mediaType": "", "digest": digest, "size": 0, "artifactType": "a/b"}], "nextToken": ""});
    let error = place.list(&entry(""), "").await.unwrap_err();
    insta::assert_snapshot!(error, @"LIST_REFERRERS_FAILURE: the plugin's answer is malformed: invalid checksum digest format: ");
    assert!(place.list(&entry("sha256:12"), "").await.is_err());
    let again = json!({"referrers": [], "nextToken": "t"});
    let error = place.list(&again, "t").await.unwrap_err();
    insta::assert_snapshot!(error, @r#"LIST_REFERRERS_FAILURE: the list of store s does not advance: page "t" names itself as the next one"#);
    let error = place.list(&again, "a;artifactTypes=x").await.unwrap_err();
    insta::assert_snapshot!(error, @"LIST_REFERRERS_FAILURE: nextToken holds ';', which the arguments of a store plugin cannot carry");
    assert!(place.list(&json!("no object"), "").await.is_err());
}

#[tokio::test]
async fn a_failing_a_late_and_a_missing_store_are_errors() {
    let failing = Place::new("echo '{\"code\":8,\"msg\":\"m\"}'; exit 1");
    let error = failing.store.resolve(&tagged(), &Context::default()).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"GET_SUBJECT_DESCRIPTOR_FAILURE: plugin failed with error: 'exit status 1', msg from stError '', msg from stdOut '{"code":8,"msg":"m"}'"#);
    let late = Place::new("sleep 60");
    let error =
        late.store.resolve(&tagged(), &Context::until(in_ms(100))).await.unwrap_err().to_string();
    assert!(error.contains("the deadline passed"), "{error}");
    std::fs::remove_file(late.dir.path().join("s")).unwrap();
    let error = late.store.resolve(&tagged(), &Context::default()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("PLUGIN_NOT_FOUND: failed to find plugin \"s\" in paths ["),
        "{error}"
    );
    let _: Arc<dyn ReferrerStore> = Arc::new(late.store);
}

#[tokio::test]
async fn a_plugin_of_a_namespaces_store_is_told_that_it_has_no_credentials() {
    let mut place = Place::new("env | grep ^RATIFY_REG > ${0%/*}/told; cat ${0%/*}/list");
    let none = json!({"referrers": null});
    place.list(&none, "").await.unwrap();
    assert_eq!(place.told(), "");
    place.store = place.store.of_borrower(true);
    place.list(&none, "").await.unwrap();
    assert_eq!(
        place.told(),
        "RATIFY_REGISTRY_RULES={\"credentials\":\"none\",\"references\":\"operator\",\"registries\":{}}\n"
    );
}
