//! What v1's chart has not: each new value does what it says, and may be absent as it is after
//! `helm upgrade --reuse-values` from v1's chart.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    compare::straighten,
    helm::{Helm, base, objects},
    keys::{AT_ONCE, keys_of, nested, parsed},
};

/// A new key: what it is set to, what else is set, and where in which object that is seen.
struct Addition {
    key: &'static str,
    value: &'static str,
    context: &'static str,
    object: &'static str,
    at: &'static str,
    /// What is there, as JSON.
    seen: &'static str,
}

const fn to(
    key: &'static str,
    value: &'static str,
    object: &'static str,
    at: &'static str,
    seen: &'static str,
) -> Addition {
    Addition { key, value, context: "{}", object, at, seen }
}

/// As [`to`], in a section that is switched on.
const fn on(
    context: &'static str,
    key: &'static str,
    value: &'static str,
    object: &'static str,
    at: &'static str,
    seen: &'static str,
) -> Addition {
    Addition { key, value, context, object, at, seen }
}

const POD: &str = "Deployment/ratify";
const CONFIG: &str = "ConfigMap/ratify-configuration";
const DIGEST: &str = r#""sha256:0000000000000000000000000000000000000000000000000000000000000000""#;
const AZURE: &str = r#"{"oras":{"authProviders":{"azureWorkloadIdentityEnabled":true}},
    "azureWorkloadIdentity":{"clientId":"id"}}"#;
const PDB: &str = r#"{"podDisruptionBudget":{"enabled":true}}"#;
const HPA: &str = r#"{"autoscaling":{"enabled":true}}"#;
const MONITOR: &str = r#"{"serviceMonitor":{"enabled":true}}"#;
const DASHBOARD: &str = r#"{"grafanaDashboard":{"enabled":true}}"#;
const RULE: &str = r#"{"prometheusRule":{"enabled":true}}"#;
const TRACING: &str = r#"{"tracing":{"headersSecretName":"collector"}}"#;
const NETWORK: &str = r#"{"networkPolicy":{"enabled":true}}"#;

const HOST_PATH: &str = r#"{"hostPath":{"path":"/on/the/node"}}"#;
const PROGRAMS: &str = r#"{"registries":{"credentialProviders":{"programs":{
    "volume":{"hostPath":{"path":"/on/the/node"}}}}}}"#;
const PROVIDERS: &str = r#"{"registries":{"credentialProviders":{"secretName":"kubelet","programs":{
    "volume":{"hostPath":{"path":"/on/the/node"}}}}}}"#;
const RULES: &str = r#"[{"match":["*.pkg.dev"],"provider":{"name":"credentialProvider"}},
    {"match":["public.example.com"],"anonymous":true}]"#;

const REDIS: &str = r#"{"provider":{"cache":{"type":"redis","redis":{
    "address":"rediss://r.example.com:6379","secretName":"sealed"}}}}"#;

#[rustfmt::skip]
const ADDITIONS: &[Addition] = &[
    on(AZURE, "oras>authProviders>azureContainerRegistryEndpoints", r#"["a.azurecr.io"]"#, "Store/store-oras",
        "/spec/parameters/authProvider", r#"{"clientID":"id","endpoints":["a.azurecr.io"],"name":"azureWorkloadIdentity"}"#),
    to("image>digest", DIGEST, POD, "/spec/template/spec/containers/ratify/image",
        r#""registry.example.com/team/ratify@sha256:0000000000000000000000000000000000000000000000000000000000000000""#),
    to("image>crdDigest", DIGEST, "Job/ratify-update-crds-hook", "/spec/template/spec/containers/crds-upgrade/image",
        r#""registry.example.com/team/ratify-crds@sha256:0000000000000000000000000000000000000000000000000000000000000000""#),
    to("imagePullSecrets", r#"["a",{"name":"b"}]"#, POD, "/spec/template/spec/imagePullSecrets", r#"[{"name":"a"},{"name":"b"}]"#),
    to("imagePullSecrets", r#"["a"]"#, "Job/ratify-update-crds-hook", "/spec/template/spec/imagePullSecrets", r#"[{"name":"a"}]"#),
    to("nodeSelector", r#"{"a":"b"}"#, POD, "/spec/template/spec/nodeSelector", r#"{"a":"b"}"#),
    to("priorityClassName", r#""system-cluster-critical""#, POD, "/spec/template/spec/priorityClassName", r#""system-cluster-critical""#),
    to("topologySpreadConstraints", r#"[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}]"#,
        POD, "/spec/template/spec/topologySpreadConstraints/0/topologyKey", r#""zone""#),
    to("podSecurityContext", r#"{"fsGroup":65532}"#, POD, "/spec/template/spec/securityContext", r#"{"fsGroup":65532}"#),
    to("securityContext", r#"{"readOnlyRootFilesystem":false,"runAsUser":1000}"#, POD,
        "/spec/template/spec/containers/ratify/securityContext",
        r#"{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"readOnlyRootFilesystem":false,
            "runAsGroup":65532,"runAsNonRoot":true,"runAsUser":1000,"seccompProfile":{"type":"RuntimeDefault"}}"#),
    to("volume>sizeLimit", r#""5Gi""#, POD, "/spec/template/spec/volumes/data/emptyDir/sizeLimit", r#""5Gi""#),
    to("volume>medium", r#""Memory""#, POD, "/spec/template/spec/volumes/data/emptyDir", r#"{"sizeLimit":"2Gi","medium":"Memory"}"#),
    to("volume>source", r#"{"persistentVolumeClaim":{"claimName":"kept"}}"#, POD, "/spec/template/spec/volumes/data",
        r#"{"name":"data","persistentVolumeClaim":{"claimName":"kept"}}"#),
    on(r#"{"provider":{"tls":{"crt":"","key":"","caCert":"","caKey":""}}}"#, "provider>tls>existingSecret", r#""kept""#,
        POD, "/spec/template/spec/volumes/tls/secret/secretName", r#""kept""#),
    to("provider>clientCA>secretName", r#""other""#, POD, "/spec/template/spec/volumes/client-ca-cert/secret",
        r#"{"secretName":"other","optional":true,"items":[{"key":"ca.crt","path":"ca.crt"}]}"#),
    to("provider>clientCA>configMapName", r#""other""#, POD, "/spec/template/spec/volumes/client-ca-cert/configMap/name", r#""other""#),
    on(r#"{"provider":{"clientCA":{"secretName":"other"}}}"#, "provider>clientCA>key", r#""root.pem""#,
        POD, "/spec/template/spec/volumes/client-ca-cert/secret/items/0", r#"{"key":"root.pem","path":"ca.crt"}"#),
    to("provider>clientCA>volume", r#"{"csi":{"driver":"d.example.com"}}"#, POD, "/spec/template/spec/volumes/client-ca-cert",
        r#"{"name":"client-ca-cert","csi":{"driver":"d.example.com"}}"#),
    on(REDIS, "provider>cache>redis>address", r#""redis://other.example.com:7000""#, POD,
        "/spec/template/spec/containers/ratify/args", r#"{"--cache-address":"redis://other.example.com:7000","--cache-type":"redis",
            "--cache-key-file":"/usr/local/cache/key","--cache-username":null,"--cache-password-file":null,"--cache-ca-file":null}"#),
    on(REDIS, "provider>cache>redis>secretName", r#""other""#, POD, "/spec/template/spec",
        r#"{"volumes":{"cache":{"secret":{"secretName":"other"}}},
            "containers":{"ratify":{"volumeMounts":{"/usr/local/cache":{"name":"cache","readOnly":true}}}}}"#),
    on(REDIS, "provider>cache>redis>username", r#""ratify""#, POD, "/spec/template/spec/containers/ratify/args/--cache-username", r#""ratify""#),
    on(REDIS, "provider>cache>redis>sealKey", r#""seal""#, POD, "/spec/template/spec/containers/ratify/args/--cache-key-file",
        r#""/usr/local/cache/seal""#),
    on(REDIS, "provider>cache>redis>passwordKey", r#""password""#, POD,
        "/spec/template/spec/containers/ratify/args/--cache-password-file", r#""/usr/local/cache/password""#),
    on(REDIS, "provider>cache>redis>caKey", r#""ca.crt""#, POD, "/spec/template/spec/containers/ratify/args/--cache-ca-file",
        r#""/usr/local/cache/ca.crt""#),
    to("provider>timeout>giveUpSeconds", "20", CONFIG, "/data/config.json/executor",
        r#"{"giveUpAfter":20000,"mutationRequestTimeout":1950,"verificationRequestTimeout":4900}"#),
    to("provider>mutationKeepsTag", "true", CONFIG, "/data/config.json/executor",
        r#"{"mutationKeepsTag":true,"mutationRequestTimeout":1950,"verificationRequestTimeout":4900}"#),
    to("plugins>allowedRepositories", r#"["registry.example.com/a/*"]"#, CONFIG, "/data/config.json/plugins",
        r#"{"allowedRepositories":["registry.example.com/a/*"]}"#),
    to("plugins>lockFile", r#""/locks/ratify.lock""#, CONFIG, "/data/config.json/plugins", r#"{"lockFile":"/locks/ratify.lock"}"#),
    to("plugins>trustPolicy", r#"{"mode":"warn","verifiers":[{"name":"notation"}]}"#, CONFIG, "/data/config.json/plugins",
        r#"{"trustPolicy":{"mode":"warn","verifiers":[{"name":"notation"}]}}"#),
    to("plugins>deniedDigests", r#"["sha256:00"]"#, CONFIG, "/data/config.json/plugins", r#"{"deniedDigests":["sha256:00"]}"#),
    to("plugins>requireDigest", "true", CONFIG, "/data/config.json/plugins", r#"{"requireDigest":true}"#),
    to("plugins>maxSizeBytes", "1073741824", CONFIG, "/data/config.json/plugins", r#"{"maxSizeBytes":1073741824}"#),
    to("plugins>namespaces>source", "true", CONFIG, "/data/config.json/plugins", r#"{"namespaces":{"source":true}}"#),
    to("plugins>namespaces>anyAddress", "true", CONFIG, "/data/config.json/plugins", r#"{"namespaces":{"anyAddress":true}}"#),
    to("namespaces>tightenOnly", "true", CONFIG, "/data/config.json/namespaces", r#"{"tightenOnly":true}"#),
    to("namespaces>clusterCredentials", "true", CONFIG, "/data/config.json/namespaces", r#"{"clusterCredentials":true}"#),
    to("registries>allowedAddresses", r#"["127.0.0.1","::1/128"]"#, CONFIG, "/data/config.json/registries",
        r#"{"allowedAddresses":["127.0.0.1","::1/128"]}"#),
    to("registries>timeouts", r#"{"silence":"9s","minBytesPerSecond":1}"#, CONFIG, "/data/config.json/registries",
        r#"{"timeouts":{"silence":"9s","minBytesPerSecond":1}}"#),
    to("registries>hosts>files", r#"[{"registry":"Registry.example.com:5000","secretName":"mirrors"}]"#, CONFIG, "/data/config.json/registries",
        r#"{"hostsPath":"/etc/ratify/hosts"}"#),
    to("registries>hosts>files", r#"[{"registry":"r.example.com:443","secretName":"a"},{"registry":"Registry.example.com:5000","secretName":"b"}]"#,
        POD, "/spec/template/spec/containers/ratify/volumeMounts", r#"{
            "/etc/ratify/hosts/r.example.com":{"name":"registry-hosts-0","readOnly":true},
            "/etc/ratify/hosts/registry.example.com_5000_":{"name":"registry-hosts-1","readOnly":true}}"#),
    to("registries>hosts>files", r#"[{"registry":"_default","configMapName":"a"},{"registry":"docker.io","secretName":"b"}]"#,
        POD, "/spec/template/spec/volumes", r#"{
            "registry-hosts-0":{"configMap":{"name":"a"}},"registry-hosts-1":{"secret":{"secretName":"b"}}}"#),
    to("registries>hosts>volume", HOST_PATH, POD, "/spec/template/spec",
        r#"{"volumes":{"registry-hosts":{"hostPath":{"path":"/on/the/node"}}},
            "containers":{"ratify":{"volumeMounts":{"/etc/ratify/hosts":{"name":"registry-hosts","readOnly":true}}}}}"#),
    on(PROGRAMS, "registries>credentialProviders>secretName", r#""kubelet""#, CONFIG, "/data/config.json/registries/credentialProviders",
        r#"{"configPath":"/etc/ratify/credential-providers/config.yaml","binDir":"/usr/local/lib/ratify/credential-providers"}"#),
    on(PROGRAMS, "registries>credentialProviders>secretName", r#""kubelet""#, POD, "/spec/template/spec/containers/ratify/volumeMounts",
        r#"{"/etc/ratify/credential-providers":{"name":"credential-providers","readOnly":true,"subPath":null},
            "/usr/local/lib/ratify/credential-providers":{"name":"credential-programs","readOnly":true,"subPath":null}}"#),
    on(PROGRAMS, "registries>credentialProviders>configMapName", r#""kubelet""#, POD, "/spec/template/spec/volumes",
        r#"{"credential-providers":{"configMap":{"name":"kubelet","items":[{"key":"config.yaml","path":"config.yaml"}]}},
            "credential-programs":{"hostPath":{"path":"/on/the/node"}}}"#),
    on(PROVIDERS, "registries>credentialProviders>key", r#""other.yaml""#, POD, "/spec/template/spec/volumes/credential-providers/secret",
        r#"{"secretName":"kubelet","items":[{"key":"other.yaml","path":"config.yaml"}]}"#),
    on(PROVIDERS, "registries>credentialProviders>programs>volume", r#"{"csi":{"driver":"d.example.com"},"hostPath":null}"#,
        POD, "/spec/template/spec/volumes/credential-programs", r#"{"csi":{"driver":"d.example.com"}}"#),
    on(PROVIDERS, "registries>credentialProviders>programs>subPath", r#""usr/bin""#, POD,
        "/spec/template/spec/containers/ratify/volumeMounts/~1usr~1local~1lib~1ratify~1credential-providers/subPath", r#""usr/bin""#),
    to("oras>authProviders>rules", RULES, "Store/store-oras", "/spec/parameters/authProviders", RULES),
    to("rbac>doctor", "true", "Role/ratify-doctor", "/rules/0",
        r#"{"apiGroups":["apps"],"resources":["deployments"],"verbs":["get","list"]}"#),
    to("rbac>readSecretsIn", r#"["team"]"#, "Role/ratify-secret-reader", "/metadata/namespace", r#""team""#),
    to("rbac>readSecretsIn", r#"["*"]"#, "ClusterRole/ratify-manager-cluster-role", "/rules/3",
        r#"{"apiGroups":[""],"resources":["secrets","serviceaccounts"],"verbs":["get"]}"#),
    to("hooks>enabled", "false", "Store/store-oras", "/metadata/annotations", r#"{"helm.sh/hook":null,"helm.sh/resource-policy":"keep"}"#),
    to("podDisruptionBudget>enabled", "true", "PodDisruptionBudget/ratify", "/spec/maxUnavailable", "1"),
    on(PDB, "podDisruptionBudget>minAvailable", "2", "PodDisruptionBudget/ratify", "/spec/minAvailable", "2"),
    on(PDB, "podDisruptionBudget>maxUnavailable", r#""50%""#, "PodDisruptionBudget/ratify", "/spec/maxUnavailable", r#""50%""#),
    to("autoscaling>enabled", "true", POD, "/spec/replicas", "null"),
    on(HPA, "autoscaling>minReplicas", "3", "HorizontalPodAutoscaler/ratify", "/spec/minReplicas", "3"),
    on(HPA, "autoscaling>maxReplicas", "7", "HorizontalPodAutoscaler/ratify", "/spec/maxReplicas", "7"),
    on(HPA, "autoscaling>targetCPUUtilizationPercentage", "60", "HorizontalPodAutoscaler/ratify",
        "/spec/metrics/0/resource/target/averageUtilization", "60"),
    on(HPA, "autoscaling>targetMemoryUtilizationPercentage", "70", "HorizontalPodAutoscaler/ratify",
        "/spec/metrics/1/resource", r#"{"name":"memory","target":{"type":"Utilization","averageUtilization":70}}"#),
    to("tracing>endpoint", r#""http://c.example.com:4318""#, POD, "/spec/template/spec/containers/ratify/env/OTEL_EXPORTER_OTLP_ENDPOINT/value",
        r#""http://c.example.com:4318""#),
    to("tracing>headersSecretName", r#""collector""#, POD, "/spec/template/spec/containers/ratify/env/OTEL_EXPORTER_OTLP_HEADERS/valueFrom/secretKeyRef",
        r#"{"name":"collector","key":"headers"}"#),
    on(TRACING, "tracing>headersSecretKey", r#""h""#, POD, "/spec/template/spec/containers/ratify/env/OTEL_EXPORTER_OTLP_HEADERS/valueFrom/secretKeyRef/key", r#""h""#),
    to("tracing>sampler", r#""traceidratio""#, POD, "/spec/template/spec/containers/ratify/env/OTEL_TRACES_SAMPLER/value", r#""traceidratio""#),
    to("tracing>samplerArg", "0.1", POD, "/spec/template/spec/containers/ratify/env/OTEL_TRACES_SAMPLER_ARG/value", r#""0.1""#),
    to("serviceMonitor>enabled", "true", "Service/ratify-metrics", "/spec/ports/0/port", "8888"),
    on(MONITOR, "serviceMonitor>interval", r#""10s""#, "ServiceMonitor/ratify", "/spec/endpoints/0/interval", r#""10s""#),
    on(MONITOR, "serviceMonitor>labels", r#"{"a":"b"}"#, "ServiceMonitor/ratify", "/metadata/labels/a", r#""b""#),
    to("prometheusRule>enabled", "true", "PrometheusRule/ratify", "/spec/groups/0/rules/0/alert", r#""RatifyAbsent""#),
    on(RULE, "prometheusRule>labels", r#"{"a":"b"}"#, "PrometheusRule/ratify", "/metadata/labels/a", r#""b""#),
    on(RULE, "prometheusRule>rules", r#"[{"alert":"Mine"}]"#, "PrometheusRule/ratify", "/spec/groups/1/rules/0/alert", r#""Mine""#),
    to("grafanaDashboard>enabled", "true", "ConfigMap/ratify-dashboard", "/metadata/labels/grafana_dashboard", r#""1""#),
    on(DASHBOARD, "grafanaDashboard>namespace", r#""monitoring""#, "ConfigMap/ratify-dashboard", "/metadata/namespace", r#""monitoring""#),
    on(DASHBOARD, "grafanaDashboard>labels", r#"{"a":"b"}"#, "ConfigMap/ratify-dashboard", "/metadata/labels/a", r#""b""#),
    on(DASHBOARD, "grafanaDashboard>annotations", r#"{"a":"b"}"#, "ConfigMap/ratify-dashboard", "/metadata/annotations/a", r#""b""#),
    to("networkPolicy>enabled", "true", "NetworkPolicy/ratify", "/spec/ingress/0",
        r#"{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"gatekeeper-system"}}}],"ports":[{"port":6001}]}"#),
    on(NETWORK, "networkPolicy>ingressFrom", r#"[{"podSelector":{"matchLabels":{"a":"b"}}}]"#, "NetworkPolicy/ratify",
        "/spec/ingress/0/from", r#"[{"podSelector":{"matchLabels":{"a":"b"}}}]"#),
    on(NETWORK, "networkPolicy>metricsFrom", r#"[{"podSelector":{"matchLabels":{"a":"b"}}}]"#, "NetworkPolicy/ratify",
        "/spec/ingress/2", r#"{"from":[{"podSelector":{"matchLabels":{"a":"b"}}}],"ports":[{"port":8888}]}"#),
    on(NETWORK, "networkPolicy>egress", r#"[{"to":[{"ipBlock":{"cidr":"192.0.2.0/24"}}]}]"#, "NetworkPolicy/ratify",
        "/spec", r#"{"policyTypes":["Ingress","Egress"],"egress":[{"to":[{"ipBlock":{"cidr":"192.0.2.0/24"}}]}]}"#),
];

impl Addition {
    fn values(&self) -> [Value; 3] {
        [base(), parsed(self.context), nested(self.key, parsed(self.value))]
    }

    /// What is wrong about it, if anything.
    fn judge(&self, text: &str) -> Option<String> {
        let all = straighten(objects(text));
        let Some(object) = all.get(self.object) else {
            return Some(format!("{}: there is no {}", self.key, self.object));
        };
        let found = object.pointer(self.at).unwrap_or(&Value::Null);
        let is_seen = contains(found, &parsed(self.seen));
        (!is_seen).then(|| format!("{}: {}{} is {found}", self.key, self.object, self.at))
    }
}

/// Whether everything that is wanted is there; `null` wants nothing to be there.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| contains(found.get(key).unwrap_or(&Value::Null), wanted)),
        (found, wanted) => found == wanted,
    }
}

#[tokio::test]
async fn each_new_value_does_what_it_says_and_may_come_after_v1s_values() {
    let Some(helm) = Helm::find() else { return };
    let ours: BTreeSet<String> = keys_of(&Helm::ours()).into_keys().collect();
    let v1: BTreeSet<String> = keys_of(&helm.v1()).into_keys().collect();
    let cases = ADDITIONS.iter().map(|addition| addition.key);
    let cases: BTreeSet<String> = cases.map(str::to_owned).collect();
    assert_eq!(ours.difference(&v1).cloned().collect::<BTreeSet<_>>(), cases);

    let reused = helm.with_v1s_values();
    let judged = stream::iter(ADDITIONS).map(async |addition| {
        let values = addition.values();
        let values: Vec<&Value> = values.iter().collect();
        let ran = helm.try_render(&Helm::ours(), &values).await;
        assert!(ran.is_success, "{}: {}", addition.key, ran.stderr);
        let again = helm.try_render(&reused, &values).await;
        assert!(again.is_success, "{} after v1's values: {}", addition.key, again.stderr);
        let same =
            (ran.stdout != again.stdout).then(|| format!("{}: not so after v1's", addition.key));
        [addition.judge(&ran.stdout), same]
    });
    let judged: Vec<_> = judged.buffered(AT_ONCE).collect().await;
    let wrong: Vec<String> = judged.into_iter().flatten().flatten().collect();
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn tolerations_may_be_a_list_or_one_of_them() {
    let Some(helm) = Helm::find() else { return };
    let one = json!({"key": "k", "operator": "Exists"});
    for (given, made) in [
        (json!([]), Value::Null),
        (json!({}), Value::Null),
        (one.clone(), json!([one])),
        (json!([one]), json!([one])),
    ] {
        let values = json!({"tolerations": given, "crds": {"tolerations": given}});
        let all = straighten(helm.render(&Helm::ours(), &[&base(), &values]).await);
        for object in [POD, "Job/ratify-update-crds-hook"] {
            let found = all[object].pointer("/spec/template/spec/tolerations");
            assert_eq!(found.unwrap_or(&Value::Null), &made, "{object} {given}");
        }
    }
}
