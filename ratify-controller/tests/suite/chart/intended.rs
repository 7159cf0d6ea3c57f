//! What our chart makes otherwise than v1's, on purpose. A difference that is not here is a defect,
//! and so is a row here that no case needs.

use super::compare::Difference;

/// Where a difference is meant to be, and why.
pub(super) struct Intended {
    /// `Kind/name`; a `*` at its end stands for the rest.
    object: &'static str,
    /// The beginning of a JSON pointer.
    at: &'static str,
    /// Why ours is otherwise.
    pub(super) reason: &'static str,
}

const fn row(object: &'static str, at: &'static str, reason: &'static str) -> Intended {
    Intended { object, at, reason }
}

const DEPLOYMENT: &str = "Deployment/*";

#[rustfmt::skip]
pub(super) const INTENDED: &[Intended] = &[
    row("Pod/*", "", "v1's test asks the TLS port in clear, and fails"),
    row("ClusterRole/ratify-manager-cluster-role", "/rules",
        "v1 may create and delete every resource, and read every Secret; ours may do what it does"),
    row("ClusterRole/ratify-admin-upgrade-crds", "/rules/0/verbs", "definitions are patched, not updated"),
    row("Role/ratify-manager-role", "", "nothing is needed in the namespace unless certificates are rotated"),
    row("RoleBinding/ratify-manager-rolebinding", "", "as its role"),
    row("Role/ratify-secret-reader", "", "Secrets are read where they are needed, not everywhere"),
    row("RoleBinding/ratify-secret-reader", "", "as its role"),
    row("Job/*", "/spec/template/spec/containers/crds-upgrade/args", "the image's program knows the definitions"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/args/--ca-cert-file",
        "v1 looks at the cluster while it renders; ours says where the file will be"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/volumeMounts/~1usr~1local~1tls~1client-ca", "as above"),
    row(DEPLOYMENT, "/spec/template/spec/volumes/client-ca-cert", "as above"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/securityContext/readOnlyRootFilesystem",
        "nothing is written but on the volume"),
    row(DEPLOYMENT, "/spec/template/spec/volumes/data", "the volume"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/volumeMounts/~1.ratify~1plugins", "the volume"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/volumeMounts/~1home~1nonroot", "the volume"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/volumeMounts/~1tmp", "the volume"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/env/RATIFY_CONFIG", "the volume"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/env/HOME", "the volume"),
    row(DEPLOYMENT, "/spec/template/spec/containers/ratify/env/TMPDIR", "the volume"),
    row(DEPLOYMENT, "/spec/template/metadata/annotations/checksum~1config",
        "the configuration is read at a start: a new one starts the pods anew"),
    row(DEPLOYMENT, "/spec/template/metadata/labels/azure.workload.identity~1use",
        "v1 labels every pod; ours those that have an identity"),
    row("ConfigMap/*", "/data/config.json/logger/requestHeaders",
        "v1 renders the list as one text, so that it never has an effect"),
    row("*", "/metadata/annotations/helm.sh~1resource-policy",
        "what a hook makes outlives its release; so it does on the way to plain objects and back"),
    row("Policy/ratify-policy", "/spec/parameters/policy", "the same rule in other words"),
];

impl Intended {
    pub(super) fn covers(&self, difference: &Difference) -> bool {
        let is_object = match self.object.strip_suffix('*') {
            Some(beginning) => difference.object.starts_with(beginning),
            None => difference.object == self.object,
        };
        is_object && difference.at.starts_with(self.at)
    }
}
