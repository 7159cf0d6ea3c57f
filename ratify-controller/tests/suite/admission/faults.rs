//! Something on the way is gone or is not who it should be: nobody passes, and everybody is told why.

use std::fs;

use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use serde_json::json;

use super::lab::{Lab, assert_refused};
use crate::{
    chart::site::{NAME, placed},
    cluster::kubectl::Ran,
    tls::parts::Authority,
};

/// What a constraint says when Ratify could not be asked.
const NOT_ASKED: &str = "Ratify's answer is not whole: failed to send external data request";

pub(super) async fn nobody_passes_while_something_is_wrong(lab: &mut Lab) {
    without_mutation(lab).await;
    a_bundle_of_somebody_else(lab).await;
    a_certificate_of_another_name(lab).await;
    a_client_of_somebody_else(lab).await;
    ratify_is_down(lab).await;
    gatekeeper_is_down(lab).await;
}

impl Lab {
    /// Until an image is refused for this reason.
    async fn until_refused(&self, reason: &str) {
        let is_refused = async || self.try_another().await.stderr.contains(reason);
        self.until(&format!("refused: {reason}"), is_refused).await;
    }

    async fn until_admitted(&self) {
        self.until("admitted", async || self.try_another().await.code == Some(0)).await;
    }

    /// What would come of a pod of an image that nobody has asked about: Gatekeeper keeps answers.
    /// It keeps connections too, but not when the Provider has changed.
    async fn try_another(&self) -> Ran {
        let timeout = self.site.cluster.get_json("provider", None, "ratify-provider").await;
        let timeout = if timeout["spec"]["timeout"] == 5 { 4 } else { 5 };
        self.patch("provider", "ratify-provider", &json!({"spec": {"timeout": timeout}})).await;
        let [_, image] = self.push_good(&format!("faults/{}", uuid::Uuid::new_v4().simple()));
        let image = format!("--image={image}");
        self.site.cluster.kubectl(&["run", "fault", &image, "--dry-run=server"]).await
    }

    async fn set_bundle(&self, provider: &str, authority: &Authority) {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let bundle = STANDARD.encode(authority.pem());
        self.patch("provider", provider, &json!({"spec": {"caBundle": bundle}})).await;
    }
}

/// A mutation that cannot be asked for refuses as well. It comes first, and hides what comes next.
async fn without_mutation(lab: &Lab) {
    lab.set_bundle("ratify-mutation-provider", &Authority::new("stranger")).await;
    lab.until_refused("failed to send external data request to provider ratify-mutation-provider")
        .await;
    let delete = ["delete", "assign", "--all"];
    lab.site.cluster.must(&delete).await;
    lab.until_admitted().await;
}

async fn a_bundle_of_somebody_else(lab: &Lab) {
    lab.set_bundle("ratify-provider", &Authority::new("stranger")).await;
    lab.until_refused(NOT_ASKED).await;
    lab.until_refused("certificate signed by unknown authority").await;
    lab.set_bundle("ratify-provider", &lab.authority).await;
    lab.until_admitted().await;
}

async fn a_certificate_of_another_name(lab: &Lab) {
    let folder = placed(&lab.pod.root, "/usr/local/tls");
    for (names, reason) in [(["other", "another"], "not localhost"), ([NAME, "localhost"], "")] {
        lab.authority.issue_for_names(&names, vec![ServerAuth]).write(&folder);
        match reason {
            "" => lab.until_admitted().await,
            reason => lab.until_refused(reason).await,
        }
    }
}

/// Ratify answers nobody but Gatekeeper: its certificate is not of the authority any more.
async fn a_client_of_somebody_else(lab: &Lab) {
    let file = placed(&lab.pod.root, "/usr/local/tls/client-ca/ca.crt");
    let trusted = fs::read_to_string(&file).unwrap();
    assert_eq!(trusted.trim(), lab.of_gatekeeper.pem().trim());
    fs::write(&file, Authority::new("stranger").pem()).unwrap();
    lab.until_refused("tls: unknown certificate authority").await;
    fs::write(&file, trusted).unwrap();
    lab.until_admitted().await;
}

async fn ratify_is_down(lab: &mut Lab) {
    lab.pod.controller.process.kill().await.unwrap();
    lab.until_refused(NOT_ASKED).await;
    lab.until_refused("connection refused").await;
}

async fn gatekeeper_is_down(lab: &mut Lab) {
    lab.gatekeeper.end().await;
    let [_, image] = lab.push_good("faults/last");
    assert_refused(&lab.run_once("default", "fault", &image).await, "failed calling webhook");
}
