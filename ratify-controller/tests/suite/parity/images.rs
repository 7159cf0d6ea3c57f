//! The images the cases ask about, by name. Each is a repository with the tag `v1`.

use std::fs;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    lab::{Host, Lab},
    layout::{Attached, Layout, MANIFEST, digest_of},
    machines::{PASSWORD, USER},
};

pub(super) const STATEMENT: &str = "application/vnd.example.statement.v1+json";
pub(super) const OTHER: &str = "application/vnd.example.other.v1+json";
pub(super) const SPDX_JSON: &str = "application/spdx+json";
pub(super) const SPDX_TEXT: &str = "application/vnd.ratify.spdx.v0";
pub(super) const SARIF: &str = "application/sarif+json";
pub(super) const COSIGN: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const PNG: [u8; 8] = [0x89, b'P', b'N', b'G', 0xff, 0xfe, 0, 0x1a];
const SPDX_DOCUMENT: &str = "SPDXVersion: SPDX-2.3
DataLicense: CC0-1.0
SPDXID: SPDXRef-DOCUMENT
DocumentName: example
DocumentNamespace: https://example.com/example
Creator: Tool: example
Created: 2024-01-01T00:00:00Z

PackageName: first
SPDXID: SPDXRef-Package-first
PackageVersion: 1.0
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageLicenseConcluded: MIT
PackageLicenseDeclared: MIT
PackageCopyrightText: NOASSERTION

PackageName: second
SPDXID: SPDXRef-Package-second
PackageVersion: 2.0
PackageDownloadLocation: NOASSERTION
FilesAnalyzed: false
PackageLicenseConcluded: GPL-2.0-only
PackageLicenseDeclared: GPL-2.0-only
PackageCopyrightText: NOASSERTION
";

/// Writes every layout and pushes it with `oras`, one with `skopeo`, to where cases look for it.
pub(super) async fn push(lab: &Lab) {
    let folder = lab.layouts();
    let statement = || Attached::new(STATEMENT, "application/json", br#"{"says":"built here"}"#);
    let plain = Layout::new(&folder, "plain");
    let mut one = Layout::new(&folder, "one");
    one.attach(&statement());
    let mut two = Layout::new(&folder, "two");
    two.attach(&statement());
    two.attach(&Attached::new(OTHER, "image/png", &PNG));
    let mut binary = Layout::new(&folder, "binary");
    binary.attach(&Attached::new(STATEMENT, "image/png", &PNG));
    let mut bare = Layout::new(&folder, "bare");
    bare.attach(&Attached { artifact_type: STATEMENT, ..Attached::default() });
    let mut nested = Layout::new(&folder, "nested");
    let parent = nested.attach(&statement());
    nested.attach_to(&parent, &Attached::new(OTHER, "text/plain", b"about the statement"));
    let mut modern = Layout::new(&folder, "modern");
    modern.attach(&Attached { modern: true, ..statement() });
    let documents = documents(lab);
    let cosign = cosign(&folder);
    let mut all: Vec<&Layout> = vec![&plain, &one, &two, &binary, &bare, &nested, &cosign];
    all.extend(&documents);
    lab.push(&all, &lab.api).await;
    lab.push(&[&one, &two, &modern, &plain], &lab.tags).await;
    lab.push(&[&one], &lab.tls).await;
    push_signature(lab, &cosign).await;
    push_moved_list(lab, &one, &plain).await;
    push_with_skopeo(lab, &plain).await;
    push_plugins(lab).await;
}

/// What v1's own plugins judge.
fn documents(lab: &Lab) -> Vec<Layout> {
    let folder = lab.layouts();
    let created = |time: &str| json!({"org.opencontainers.image.created": time});
    let scan = lab.document("test/testdata/trivy_scan_report.json");
    let sbom = lab.document("plugins/verifier/sbom/testdata/syftbom.spdx.json");
    let bad_sbom = lab.document("plugins/verifier/sbom/testdata/invalid-bom.json");
    let bad_scan = b"{\"version\":\"2.1.0\",\"runs\":\"none\"}";
    let attach = |name: &str, attached: Attached<'_>| {
        let mut layout = Layout::new(&folder, name);
        layout.attach(&attached);
        layout
    };
    let dated = created("2024-01-01T00:00:00Z");
    vec![
        attach("sbom", Attached::new(SPDX_JSON, SPDX_JSON, &sbom)),
        attach("bad-sbom", Attached::new(SPDX_JSON, SPDX_JSON, &bad_sbom)),
        attach("licences", Attached::new(SPDX_TEXT, "application/text", SPDX_DOCUMENT.as_bytes())),
        attach("scan", Attached::new(SARIF, SARIF, &scan).annotated(dated.clone())),
        attach("undated-scan", Attached::new(SARIF, SARIF, &scan)),
        attach("bad-scan", Attached::new(SARIF, SARIF, bad_scan).annotated(dated)),
    ]
}

/// An image of which cosign's tag says, by its payload, that another image is signed.
fn cosign(folder: &std::path::Path) -> Layout {
    let mut layout = Layout::new(folder, "cosign");
    let payload = json!({"critical": {
        "identity": {"docker-reference": "example"},
        "image": {"docker-manifest-digest": format!("sha256:{}", "0".repeat(64))},
        "type": "cosign container image signature",
    }});
    let tag = signature_tag(&layout);
    let signature = Attached {
        artifact_type: "application/vnd.oci.image.config.v1+json",
        layers: vec![(SIMPLE_SIGNING, payload.to_string().into_bytes())],
        ..Attached::default()
    };
    layout.tagged(&tag, &signature);
    layout
}

fn signature_tag(layout: &Layout) -> String {
    format!("{}.sig", digest_of(&layout.image).replace(':', "-"))
}

async fn push_signature(lab: &Lab, layout: &Layout) {
    let tag = signature_tag(layout);
    let mut oras = Command::new(lab.machines.tool("oras"));
    oras.args(["cp", "--no-tty", "--to-plain-http", "--from-oci-layout"]);
    oras.arg(format!("{}:{tag}", layout.folder.display()));
    oras.arg(format!("{}/cosign:{tag}", lab.api.address));
    lab.must(&mut oras).await;
}

/// Makes the tag schema of `to` list what is attached to `from`.
async fn push_moved_list(lab: &Lab, from: &Layout, to: &Layout) {
    let index: Value =
        serde_json::from_slice(&fs::read(from.folder.join("index.json")).unwrap()).unwrap();
    let artifact = &index["manifests"][1];
    let blob = |digest: &str| from.folder.join("blobs").join(digest.replace(':', "/"));
    let manifest: Value =
        serde_json::from_slice(&fs::read(blob(digest_of(artifact))).unwrap()).unwrap();
    let repository = format!("{}/plain", lab.tags.address);
    for part in [&manifest["config"], &manifest["layers"][0]] {
        let name = format!("{repository}@{}", digest_of(part));
        lab.must(oras(lab, &["blob", "push", &name]).arg(blob(digest_of(part)))).await;
    }
    let name = format!("{repository}@{}", digest_of(artifact));
    let push = ["manifest", "push", "--media-type", MANIFEST, &name];
    lab.must(oras(lab, &push).arg(blob(digest_of(artifact)))).await;
    let list = lab.folder.join("moved.json");
    let media_type = "application/vnd.oci.image.index.v1+json";
    let moved = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [artifact]});
    fs::write(&list, moved.to_string()).unwrap();
    let name = format!("{repository}:{}", digest_of(&to.image).replace(':', "-"));
    lab.must(oras(lab, &["manifest", "push", &name]).arg(&list)).await;
}

/// `oras` against the registry with a password.
fn oras(lab: &Lab, arguments: &[&str]) -> Command {
    let mut oras = Command::new(lab.machines.tool("oras"));
    oras.args(arguments).args(["--plain-http", "--username", USER, "--password", PASSWORD]);
    oras
}

async fn push_with_skopeo(lab: &Lab, layout: &Layout) {
    let mut skopeo = Command::new(lab.machines.tool("skopeo"));
    skopeo.args(["copy", "--insecure-policy", "--dest-tls-verify=false"]);
    skopeo.arg(format!("oci:{}:v1", layout.folder.display()));
    skopeo.arg(format!("docker://{}/by-skopeo:v1", lab.api.address));
    lab.must(&mut skopeo).await;
}

/// Our plugins as `ratify plugin push` lays them out, and one as `oras push` does.
async fn push_plugins(lab: &Lab) {
    for (kind, name) in [("verifier", "sample"), ("store", "sample-store")] {
        let mut push = lab.command(Host::Here, &format!("push {name}"));
        push.args(["plugin", "push", &format!("{}/plugins/{name}:1.0.0", lab.tls.address)]);
        push.args(["--type", name, "--kind", kind, "--version", "1.0.0", "--platform"]);
        push.arg(format!("linux/amd64={}", lab.machines.plugin(name, name).display()));
        lab.must(&mut push).await;
    }
    let mut oras = Command::new(lab.machines.tool("oras"));
    oras.arg("push").arg("--ca-file").arg(lab.folder.join("tls/ca.pem"));
    oras.arg(format!("{}/by-oras/sample:v1", lab.tls.address)).arg("sample");
    oras.current_dir(lab.machines.plugin("sample", "sample").parent().unwrap());
    lab.must(&mut oras).await;
}
