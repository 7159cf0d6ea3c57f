//! How each key of v1's values is flipped: to another value than its default, in a context where it
//! has an effect.

/// One key of v1's values.yaml, flipped.
pub(super) struct Case {
    /// Its path, with `>` between the steps: some keys have dots.
    pub(super) key: &'static str,
    /// What it is set to, as JSON.
    pub(super) value: &'static str,
    /// What else is set, before and after, as JSON.
    pub(super) context: &'static str,
}

const fn flip(key: &'static str, value: &'static str) -> Case {
    Case { key, value, context: "{}" }
}

const fn with(context: &'static str, key: &'static str, value: &'static str) -> Case {
    Case { key, value, context }
}

/// A key vault of Azure, as the guides have it.
const VAULT: &str = r#"{"azurekeyvault":{"enabled":true,"vaultURI":"https://v.example.com",
    "tenantId":"t","certificates":[{"name":"c","version":"v1"}],"keys":[{"name":"k"}]},
    "azureWorkloadIdentity":{"clientId":"id"}}"#;
/// The same in its deprecated spelling.
const OLD_VAULT: &str = r#"{"akvCertConfig":{"enabled":true,"vaultURI":"https://v.example.com",
    "tenantId":"t","cert1Name":"c1","cert1Version":"v1","cert2Name":"c2","cert2Version":"v2"},
    "azureWorkloadIdentity":{"clientId":"id"}}"#;
const COSIGN_KEY: &str = r#"{"cosignKeys":["pem"]}"#;
const KEYLESS: &str = r#"{"cosign":{"keyless":{"certificateIdentity":"me@example.com",
    "certificateOIDCIssuer":"https://issuer.example.com"}}}"#;
const REPORT: &str = r#"{"vulnerabilityreport":{"enabled":true}}"#;
const SBOM: &str = r#"{"sbom":{"enabled":true}}"#;
const MANAGED: &str = r#"{"oras":{"authProviders":{"azureManagedIdentityEnabled":true}},
    "azureManagedIdentity":{"clientId":"id","tenantId":"t"}}"#;
const ALIBABA: &str = r#"{"oras":{"authProviders":{"alibabacloudAcrBasicEnabled":true}},
    "alibabacloudAcrConfig":{"defaultInstanceId":"i"}}"#;
const ECR: &str = r#"{"oras":{"authProviders":{"awsEcrBasicEnabled":true,"awsApiOverride":{
    "enabled":true,"endpoint":"ecr.example.com","partition":"p","region":"r"}}}}"#;

/// One flip or more a key.
#[rustfmt::skip]
pub(super) const CASES: &[Case] = &[
    flip("image>repository", r#""registry.example.com/other/ratify""#),
    flip("image>crdRepository", r#""registry.example.com/other/crds""#),
    flip("image>tag", r#""8""#),
    flip("image>pullPolicy", r#""Always""#),
    flip("nameOverride", r#""other""#),
    flip("fullnameOverride", r#""other""#),
    flip("replicaCount", "3"),
    flip("affinity", r#"{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1}]}}"#),
    flip("tolerations", r#"[{"key":"k","operator":"Exists"}]"#),
    flip("notationCerts", r#"["pem","other"]"#),
    flip("cosignKeys", r#"["pem","other"]"#),
    flip("notation>enabled", "false"),
    with(r#"{"notationCerts":["pem","other"]}"#, "notation>trustPolicies", r#"[{"registryScopes":["r.example.com/a"],"level":"audit",
        "trustedIdentities":["CN=a"],"trustStores":["ca:notationCerts[0]","tsa:notationCerts[1]"]},
        {"name":"second","registryScopes":["*"],"trustStores":["signingAuthority:azurekeyvault"]}]"#),
    flip("notation>trustPolicies", r#"[{"name":"other","verificatonLevel":"audit","registryScopes":["*"],"trustStores":[]}]"#),
    flip("cosign>enabled", "false"),
    with(COSIGN_KEY, "cosign>scopes", r#"["r.example.com/a"]"#),
    flip("cosign>key", r#""pem""#),
    with(COSIGN_KEY, "cosign>rekorURL", r#""https://rekor.example.com""#),
    with(COSIGN_KEY, "cosign>tLogVerify", "false"),
    with(KEYLESS, "cosign>keyless>ctLogVerify", "false"),
    with(KEYLESS, "cosign>keyless>certificateIdentity", r#""you@example.com""#),
    with(KEYLESS, "cosign>keyless>certificateIdentityRegExp", r#"".*""#),
    with(KEYLESS, "cosign>keyless>certificateOIDCIssuer", r#""https://other.example.com""#),
    with(KEYLESS, "cosign>keyless>certificateOIDCIssuerRegExp", r#"".*""#),
    flip("vulnerabilityreport>enabled", "true"),
    with(REPORT, "vulnerabilityreport>passthrough", "true"),
    with(REPORT, "vulnerabilityreport>schemaURL", r#""https://s.example.com""#),
    with(REPORT, "vulnerabilityreport>createdAnnotationName", r#""made""#),
    with(REPORT, "vulnerabilityreport>maximumAge", r#""24h""#),
    with(REPORT, "vulnerabilityreport>notaryProjectSignatureRequired", "true"),
    with(REPORT, "vulnerabilityreport>disallowedSeverities", r#"["high"]"#),
    with(REPORT, "vulnerabilityreport>denylistCVEs", r#"["CVE-1"]"#),
    flip("sbom>enabled", "true"),
    with(SBOM, "sbom>notaryProjectSignatureRequired", "true"),
    with(SBOM, "sbom>disallowedLicenses", r#"["MPL"]"#),
    with(SBOM, "sbom>disallowedPackages", r#"[{"name":"p","version":"1.0.0"}]"#),
    flip("resources>limits>cpu", r#""2""#),
    flip("resources>limits>memory", r#""1Gi""#),
    flip("resources>requests>cpu", r#""1""#),
    flip("resources>requests>memory", r#""1Gi""#),
    flip("serviceAccount>create", "false"),
    flip("serviceAccount>name", r#""other""#),
    flip("serviceAccount>annotations", r#"{"a":"b"}"#),
    flip("gatekeeper>version", r#""3.10.0""#),
    flip("gatekeeper>namespace", r#""gatekeeper""#),
    flip("instrumentation>metricsEnabled", "false"),
    flip("instrumentation>metricsType", r#""other""#),
    flip("instrumentation>metricsPort", "8889"),
    flip("azureWorkloadIdentity>clientId", r#""id""#),
    with(MANAGED, "azureManagedIdentity>clientId", r#""other""#),
    with(MANAGED, "azureManagedIdentity>tenantId", r#""other""#),
    with(VAULT, "azurekeyvault>enabled", "false"),
    with(VAULT, "azurekeyvault>vaultURI", r#""https://w.example.com""#),
    with(VAULT, "azurekeyvault>tenantId", r#""u""#),
    with(VAULT, "azurekeyvault>certificates", r#"[{"name":"d","version":"v2"},{"version":"v3"}]"#),
    with(VAULT, "azurekeyvault>keys", r#"[{"name":"l","version":"v2"}]"#),
    with(VAULT, "azurekeyvault>refreshInterval", r#""1h""#),
    with(ALIBABA, "alibabacloudAcrConfig>defaultInstanceId", r#""j""#),
    with(ALIBABA, "alibabacloudAcrConfig>acrInstancesConfig", r#"[{"instanceName":"n","instanceId":"j"}]"#),
    flip("oras>useHttp", "true"),
    with(r#"{"azureWorkloadIdentity":{"clientId":"id"}}"#, "oras>authProviders>azureWorkloadIdentityEnabled", "true"),
    flip("oras>authProviders>azureManagedIdentityEnabled", "true"),
    flip("oras>authProviders>k8secretsEnabled", "true"),
    flip("oras>authProviders>awsEcrBasicEnabled", "true"),
    with(ECR, "oras>authProviders>awsApiOverride>enabled", "false"),
    with(ECR, "oras>authProviders>awsApiOverride>endpoint", r#""other.example.com""#),
    with(ECR, "oras>authProviders>awsApiOverride>partition", r#""q""#),
    with(ECR, "oras>authProviders>awsApiOverride>region", r#""s""#),
    flip("oras>authProviders>alibabacloudAcrBasicEnabled", "true"),
    flip("oras>cache>enabled", "false"),
    flip("oras>cache>ttl", "20"),
    flip("provider>tls>crt", r#""other""#),
    flip("provider>tls>key", r#""other""#),
    flip("provider>tls>caCert", r#""other""#),
    flip("provider>tls>caKey", r#""other""#),
    flip("provider>tls>cabundle", r#""b3RoZXI=""#),
    flip("provider>timeout>validationTimeoutSeconds", "3"),
    flip("provider>timeout>mutationTimeoutSeconds", "1"),
    with(r#"{"provider":{"cache":{"type":"dapr"}}}"#, "provider>cache>enabled", "false"),
    with(r#"{"logger":{"level":"debug"}}"#, "provider>cache>type", r#""dapr""#),
    flip("provider>cache>cacheSizeMb", "128"),
    flip("provider>cache>ttl", r#""1m""#),
    flip("provider>cache>name", r#""state""#),
    flip("provider>enableMutation", "false"),
    flip("podAnnotations", r#"{"a":"b"}"#),
    flip("podLabels", r#"{"a":"b"}"#),
    flip("enableRuntimeDefaultSeccompProfile", "false"),
    flip("healthPort", "9098"),
    flip("rbac>create", "false"),
    flip("upgradeCRDs>enabled", "false"),
    flip("upgradeCRDs>extraRules", r#"[{"apiGroups":["policy"],"resources":["podsecuritypolicies"],"verbs":["use"]}]"#),
    flip("crds>affinity", r#"{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1}]}}"#),
    flip("crds>tolerations", r#"[{"operator":"Exists"}]"#),
    flip("crds>nodeSelector>kubernetes.io/os", r#""other""#),
    flip("crds>resources", r#"{"limits":{"cpu":"1"}}"#),
    flip("crds>securityContext>allowPrivilegeEscalation", "true"),
    flip("crds>securityContext>capabilities>drop", r#"["KILL"]"#),
    flip("crds>securityContext>readOnlyRootFilesystem", "false"),
    flip("crds>securityContext>runAsGroup", "1"),
    flip("crds>securityContext>runAsNonRoot", "false"),
    flip("crds>securityContext>runAsUser", "1"),
    flip("policy>useRego", "true"),
    flip("logger>formatter", r#""json""#),
    flip("logger>level", r#""debug""#),
    flip("logger>requestHeaders>traceIDHeaderName", r#"["x-trace"]"#),
    flip("crl>cache>enabled", "false"),
    flip("featureFlags>RATIFY_CERT_ROTATION", "true"),
    flip("featureFlags>RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY", "true"),
    flip("notationCert", r#""pem""#),
    with(OLD_VAULT, "akvCertConfig>enabled", "false"),
    with(OLD_VAULT, "akvCertConfig>vaultURI", r#""https://w.example.com""#),
    with(OLD_VAULT, "akvCertConfig>cert1Name", r#""d""#),
    with(OLD_VAULT, "akvCertConfig>cert1Version", r#""v3""#),
    with(OLD_VAULT, "akvCertConfig>cert2Name", r#""d""#),
    with(OLD_VAULT, "akvCertConfig>cert2Version", r#""v3""#),
    with(OLD_VAULT, "akvCertConfig>certificates", r#"[{"name":"e","version":"v4"}]"#),
    with(OLD_VAULT, "akvCertConfig>tenantId", r#""u""#),
    flip("env", r#"[{"name":"https_proxy","value":"http://proxy.example.com"}]"#),
];

/// Keys that v1's templates read, and its values do not name.
pub(super) const UNDECLARED: &[Case] =
    &[flip("dockerConfig", r#""{}""#), flip("registryCredsSecret", r#""secret""#)];
