//! Signatures of the real cosign, 2 and 3, with the time of an authority (RFC 3161): beside the signature
//! and in bundles, by keys and by certificates, and whatever can be wrong with the time.

use std::fs;

use futures_util::{StreamExt, stream};
use ratify_controller::dev::{RegistryOptions, RunningRegistry};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    super::{
        lab::{Host, Lab, Run},
        layout::{Layout, digest_of},
        verify_cases::with,
    },
    clocks::Clocks,
    signing::{SIGNATURE, import_key, make_key},
    sigstore::{self, ISSUER, SUBJECT},
};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What a report says of a time that was looked at.
const IN_TIME: &str = "The time of the signature was verified by a trusted timestamp.";

/// Who makes it, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Beside the signature, by cosign 2.
    Beside,
    /// A bundle by cosign 2.
    Bundle2,
    /// A bundle by cosign 3.
    Bundle3,
}

/// Which signature, and what comes of it: that the time was verified, nothing about it, or why not.
struct Case {
    form: Form,
    key: &'static str,
    clock: &'static str,
    comes: Result<bool, &'static str>,
}

const fn case(
    form: Form,
    key: &'static str,
    clock: &'static str,
    comes: Result<bool, &'static str>,
) -> Case {
    Case { form, key, clock, comes }
}

/// A key does not end, so nobody looks at the time of its signatures. cosign 2 attaches no token that it
/// finds broken.
const CASES: [Case; 20] = [
    case(Form::Beside, "own", "good", Ok(false)),
    case(Form::Beside, "own", "stranger", Ok(false)),
    case(Form::Beside, "leaf", "good", Ok(true)),
    case(Form::Beside, "ended", "past", Ok(true)),
    case(Form::Beside, "ended", "good", Err("CertExpired")),
    case(Form::Beside, "leaf", "other", Err("Timestamp message hash mismatch")),
    case(Form::Beside, "leaf", "stranger", Err("invalid RFC 3161 timestamp")),
    case(Form::Beside, "leaf", "twice", Err("SET OF contains duplicate")),
    case(Form::Bundle2, "own", "good", Ok(false)),
    case(Form::Bundle2, "leaf", "good", Ok(true)),
    case(Form::Bundle2, "ended", "past", Ok(true)),
    case(Form::Bundle2, "leaf", "other", Err("Timestamp message hash mismatch")),
    case(Form::Bundle2, "leaf", "stranger", Err("invalid RFC 3161 timestamp")),
    case(Form::Bundle3, "own", "good", Ok(false)),
    case(Form::Bundle3, "leaf", "good", Ok(true)),
    case(Form::Bundle3, "ended", "past", Ok(true)),
    case(Form::Bundle3, "ended", "good", Err("CertExpired")),
    case(Form::Bundle3, "leaf", "other", Err("Timestamp message hash mismatch")),
    case(Form::Bundle3, "leaf", "stranger", Err("invalid RFC 3161 timestamp")),
    case(Form::Bundle3, "leaf", "broken", Err("Failed to verify timestamp signature")),
];

/// Registries, keys and authorities.
struct Stamped {
    lab: Lab,
    clocks: Clocks,
    ours: RunningRegistry,
}

impl Stamped {
    async fn start() -> Option<Self> {
        let lab = Lab::start().await?;
        let keys = lab.folder.join("keys");
        fs::create_dir_all(&keys).unwrap();
        make_key(&lab, &keys, "own", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .await;
        sigstore::certify(&keys);
        for name in ["leaf", "ended"] {
            import_key(&lab, &keys, name).await;
        }
        let clocks = Clocks::start(&lab.folder.join("clocks")).await;
        let ours = RunningRegistry::start(RegistryOptions::default()).await.unwrap();
        let stamped = Self { lab, clocks, ours };
        stamped.trust().await;
        Some(stamped)
    }

    fn file(&self, name: &str) -> String {
        self.lab.folder.join("keys").join(name).to_str().unwrap().to_owned()
    }

    /// The root of trust, as the real cosign writes it.
    async fn trust(&self) {
        let mut cosign = Command::new(self.lab.machines.tool("cosign3"));
        let since = "start-time=2020-01-01T00:00:00Z";
        let root = self.file("root.pem");
        cosign.args(["trusted-root", "create", "--fulcio"]);
        cosign.arg(format!("url=https://ca.example.com,certificate-chain={root},{since}"));
        let chain = self.clocks.chain.display();
        cosign
            .arg("--tsa")
            .arg(format!("url=https://tsa.example.com,certificate-chain={chain},{since}"));
        cosign.arg("--out").arg(self.file("trusted_root.json"));
        self.lab.must(&mut cosign).await;
    }

    /// Pushes an image of its own to a registry, and says where it is.
    async fn push(&self, name: &str, registry: &str) -> String {
        let image = Layout::new(&self.lab.layouts(), name);
        let mut oras = Command::new(self.lab.machines.tool("oras"));
        oras.args(["cp", "--no-tty", "--to-plain-http", "--from-oci-layout"]);
        oras.arg(format!("{}:v1", image.folder.display()));
        self.lab.must(oras.arg(format!("{registry}/{name}:v1"))).await;
        format!("{registry}/{name}@{}", digest_of(&image.image))
    }

    async fn sign(&self, case: &Case, image: &str) {
        let program = if case.form == Form::Bundle3 { "cosign3" } else { "cosign" };
        let mut cosign = Command::new(self.lab.machines.tool(program));
        cosign.args(["sign", "--yes", "--allow-http-registry", "--key"]);
        cosign.arg(self.file(&format!("{}.key", case.key)));
        if case.key != "own" {
            cosign.arg("--certificate").arg(self.file(&format!("{}.crt", case.key)));
        }
        let clock = format!("http://{}/{}", self.clocks.address, case.clock);
        match case.form {
            Form::Beside | Form::Bundle2 => {
                cosign.args(["--tlog-upload=false", "--timestamp-server-url", &clock]);
            }
            Form::Bundle3 => {
                cosign.arg("--signing-config").arg(self.signing_config(case.clock, &clock).await);
            }
        }
        match case.form {
            Form::Beside if case.key != "own" => {
                cosign.arg("--certificate-chain").arg(self.file("root.pem"));
            }
            Form::Bundle2 => drop(cosign.arg("--new-bundle-format")),
            Form::Beside | Form::Bundle3 => {}
        }
        cosign.env("COSIGN_PASSWORD", "").env("DOCKER_CONFIG", self.lab.folder.join("docker"));
        self.lab.must(cosign.arg(image)).await;
    }

    /// Whom cosign 3 asks.
    async fn signing_config(&self, name: &str, clock: &str) -> String {
        let path = self.file(&format!("{name}.signing.json"));
        let mut cosign = Command::new(self.lab.machines.tool("cosign3"));
        cosign.args(["signing-config", "create", "--tsa-config", "EXACT:1", "--tsa"]);
        cosign.arg(format!(
            "url={clock},api-version=1,start-time=2020-01-01T00:00:00Z,operator=example.com"
        ));
        self.lab.must(cosign.arg("--out").arg(&path)).await;
        path
    }

    /// What comes of an image whose signatures this key has to have made.
    async fn ask(&self, name: &str, key: &str, image: &str) -> Value {
        let signer = match key {
            "own" => json!({"keys": [{"file": self.file("own.pub")}]}),
            _ => {
                json!({"keyless": {"certificateIdentity": SUBJECT, "certificateOIDCIssuer": ISSUER, "ctLogVerify": false}})
            }
        };
        let mut policy = json!({"name": "default", "scopes": ["*"], "tLogVerify": false});
        policy.as_object_mut().unwrap().extend(signer.as_object().unwrap().clone());
        let verifier = json!({
            "name": "cosign", "artifactTypes": format!("{SIGNATURE},{BUNDLE}"),
            "trustedRoot": self.file("trusted_root.json"), "trustPolicies": [policy],
        });
        let store = json!({"name": "oras", "useHttp": true, "cosignEnabled": true});
        let config = with(store, json!({"default": "all"}), json!([verifier]));
        let run = Run {
            name,
            config: Some(config.to_string()),
            arguments: ["verify", "--subject", image].map(str::to_owned).to_vec(),
            dynamic: false,
            exact: false,
        };
        self.lab.outcome(Host::Here, &run).await["stdout"].clone()
    }

    /// What is wrong with the verdict about a case.
    async fn judge(&self, case: &Case) -> Option<String> {
        let name = format!("{:?}-{}-{}", case.form, case.key, case.clock).to_lowercase();
        let image = self.push(&name, &self.ours.address().to_string()).await;
        self.sign(case, &image).await;
        let answer = self.ask(&name, case.key, &image).await;
        let verification =
            &answer["verifierReports"][0]["extensions"]["signatures"][0]["verifications"][0];
        let summary = verification["summary"].as_array().cloned().unwrap_or_default();
        let comes = match answer["isSuccess"].as_bool() {
            Some(true) => Ok(summary.iter().any(|line| line == IN_TIME)),
            _ => Err(verification["error"].as_str().unwrap_or_default()),
        };
        let is_right = match (&case.comes, &comes) {
            (Ok(wanted), Ok(is)) => wanted == is,
            (Err(wanted), Err(is)) => is.contains(wanted),
            _ => false,
        };
        (!is_right).then(|| format!("{name}: {comes:?}, not {:?}: {answer}", case.comes))
    }
}

#[tokio::test]
async fn the_time_of_an_authority_counts_where_it_is_of_this_signature_and_of_one_that_is_trusted()
{
    let Some(stamped) = Stamped::start().await else { return };
    let cases = CASES.iter().map(|case| stamped.judge(case));
    let wrong: Vec<Option<String>> = stream::iter(cases).buffered(2).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Where a registry has no Referrers API, cosign 2 lists a bundle by the type of its empty configuration; its
/// manifest says what it is. cosign 3 lists it right.
#[tokio::test]
async fn a_bundle_is_judged_in_whatever_tag_and_by_whatever_type_cosign_lists_it() {
    let Some(stamped) = Stamped::start().await else { return };
    for form in [Form::Bundle2, Form::Bundle3] {
        let name = format!("listed-{form:?}").to_lowercase();
        let layout = Layout::new(&stamped.lab.layouts(), &name);
        stamped.lab.push(&[&layout], &stamped.lab.tags).await;
        let image = format!("{}/{name}@{}", stamped.lab.tags.address, digest_of(&layout.image));
        stamped.sign(&case(form, "own", "good", Ok(false)), &image).await;
        let answer = stamped.ask(&name, "own", &image).await;
        assert_eq!(answer["isSuccess"], true, "{form:?}: {answer}");
        assert_eq!(answer["verifierReports"][0]["artifactType"], BUNDLE, "{form:?}: {answer}");
        let other = stamped.ask(&name, "leaf", &image).await;
        assert_ne!(other["isSuccess"], true, "{form:?}: {other}");
    }
}
