//! [`Error`]: the one error of every seam, with v1's 36 codes and v1's rendering.
//!
//! An error may wrap another, through any number of foreign errors between them. The innermost
//! [`Error`] of the chain is the *root*: its code is what a user sees; the details of the outer
//! ones stand in front of its own.

use std::{error::Error as StdError, fmt};

/// What every seam returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Links that v1 gives as remediation.
pub mod link {
    /// Notation's troubleshooting guide.
    pub const NOTATION: &str = "https://ratify.dev/docs/troubleshoot/verifier/notation";
    /// The ORAS project.
    pub const ORAS: &str = "https://oras.land/";
    /// Auth providers of the oras store.
    pub const AUTH_PROVIDER: &str = "https://ratify.dev/docs/reference/oras-auth-provider";
    /// Policy providers.
    pub const POLICY_PROVIDER: &str = "https://ratify.dev/docs/reference/providers";
    /// The Policy custom resource.
    pub const POLICY_CRD: &str = "https://ratify.dev/docs/reference/crds/policies";
    /// Azure Key Vault.
    pub const KEY_VAULT: &str =
        "https://learn.microsoft.com/en-us/azure/key-vault/general/overview";
    /// Azure workload identity.
    pub const AZURE_WORKLOAD_IDENTITY: &str =
        "https://learn.microsoft.com/en-us/azure/aks/workload-identity-overview";
    /// Azure managed identity.
    pub const AZURE_MANAGED_IDENTITY: &str = "https://learn.microsoft.com/en-us/azure/active-directory/managed-identities-azure-resources/overview";
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $message:literal;)*) => {
        /// What kind of failure it is. [`ErrorCode::value`] is what users see.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code, in v1's order of registration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The text in front of an error's details: `REFERENCE_INVALID`.
            pub const fn value(self) -> &'static str {
                match self { $(Self::$name => $value,)* }
            }

            /// A short sentence.
            pub const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

codes! {
    /// Unclassified.
    Unknown = "UNKNOWN", "unknown error";
    /// The executor failed.
    ExecutorFailure = "EXECUTOR_FAILURE", "executor failure";
    /// A malformed request.
    BadRequest = "BAD_REQUEST", "bad request";
    /// An image reference that is none.
    ReferenceInvalid = "REFERENCE_INVALID", "reference invalid";
    /// A cache was not written.
    CacheNotSet = "CACHE_NOT_SET", "cache not set";
    /// A bad configuration.
    ConfigInvalid = "CONFIG_INVALID", "config invalid";
    /// Credentials are missing or refused.
    AuthDenied = "AUTH_DENIED", "auth denied";
    /// A required environment variable is missing.
    EnvNotSet = "ENV_NOT_SET", "env not set";
    /// A Kubernetes object could not be read.
    GetClusterResourceFailure = "GET_CLUSTER_RESOURCE_FAILURE", "get cluster resource failure";
    /// A registry host that is none, or is not covered.
    HostNameInvalid = "HOST_NAME_INVALID", "host name invalid";
    /// No Kubernetes secret has credentials for the registry.
    NoMatchingCredential = "NO_MATCHING_CREDENTIAL", "no matching credential";
    /// Something could not be decoded.
    DataDecodingFailure = "DATA_DECODING_FAILURE", "data decoding failure";
    /// Something could not be encoded.
    DataEncodingFailure = "DATA_ENCODING_FAILURE", "data encoding failure";
    /// A named resource does not exist.
    ResourceNotFound = "RESOURCE_NOT_FOUND", "resource not found";
    /// Not allowed.
    OperationForbidden = "OPERATION_FORBIDDEN", "operation forbidden";
    /// An image reference that is not of Alibaba's form.
    AlibabaCloudImageInvalid = "ALIBABACLOUD_IMAGE_INVALID", "image invalid";
    /// A verifier failed on an artifact.
    VerifyReferenceFailure = "VERIFY_REFERENCE_FAILURE", "verify reference failure";
    /// A plugin failed on an artifact.
    VerifyPluginFailure = "VERIFY_PLUGIN_FAILURE", "verify plugin failure";
    /// There is no signature.
    SignatureNotFound = "SIGNATURE_NOT_FOUND", "signature not found";
    /// A store could not list.
    ListReferrersFailure = "LIST_REFERRERS_FAILURE", "list referrers failure";
    /// A store could not resolve.
    GetSubjectDescriptorFailure = "GET_SUBJECT_DESCRIPTOR_FAILURE", "get subject descriptor failure";
    /// A store could not read a manifest.
    GetReferrerManifestFailure = "GET_REFERRER_MANIFEST_FAILURE", "get reference manifest failure";
    /// A store could not read a blob.
    GetBlobContentFailure = "GET_BLOB_CONTENT_FAILURE", "get blob content failure";
    /// A store failed in another way.
    ReferrerStoreFailure = "REFERRER_STORE_FAILURE", "referrer store failure";
    /// A repository could not be opened.
    CreateRepositoryFailure = "CREATE_REPOSITORY_FAILURE", "create repository failure";
    /// A registry refused or failed.
    RepositoryOperationFailure = "REPOSITORY_OPERATION_FAILURE", "repository operation failure";
    /// A manifest that cannot be trusted or read.
    ManifestInvalid = "MANIFEST_INVALID", "manifest invalid";
    /// Nothing was verified.
    NoVerifierReport = "NO_VERIFIER_REPORT", "no verifier report";
    /// Something configured could not be built.
    PluginInitFailure = "PLUGIN_INIT_FAILURE", "plugin init failure";
    /// A plugin's binary or a built-in of that name does not exist.
    PluginNotFound = "PLUGIN_NOT_FOUND", "plugin not found";
    /// A dynamic plugin could not be had.
    DownloadPluginFailure = "DOWNLOAD_PLUGIN_FAILURE", "download plugin failure";
    /// A certificate cannot be used.
    CertInvalid = "CERT_INVALID", "cert invalid";
    /// A key cannot be used.
    KeyInvalid = "KEY_INVALID", "key invalid";
    /// There is no such policy, or none at all.
    PolicyProviderNotFound = "POLICY_PROVIDER_NOT_FOUND", "policy provider not found";
    /// A key vault call failed.
    KeyVaultOperationFailure = "KEY_VAULT_OPERATION_FAILURE", "Key vault operation failed";
    /// A key management provider failed.
    KeyManagementProviderFailure = "KEY_MANAGEMENT_PROVIDER_FAILURE", "Key management provider failure";
}

impl ErrorCode {
    /// A new error of this code that says nothing else yet.
    pub fn error(self) -> Error {
        Error::new(self)
    }

    /// A new error of this code with a detail.
    pub fn detail(self, detail: impl Into<String>) -> Error {
        Error::new(self).with_detail(detail)
    }
}

/// Which part of Ratify an error is from. Kept for logs; v1 does not print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ComponentType {
    /// A verifier.
    Verifier,
    /// A referrer store.
    ReferrerStore,
    /// A policy.
    Policy,
    /// The executor.
    Executor,
    /// A cache.
    Cache,
    /// An auth provider.
    AuthProvider,
    /// A policy provider.
    PolicyProvider,
    /// A certificate provider.
    CertProvider,
    /// A key management provider.
    KeyManagementProvider,
}

impl ComponentType {
    /// v1's name of the component.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::ReferrerStore => "referrerStore",
            Self::Policy => "policy",
            Self::Executor => "executor",
            Self::Cache => "cache",
            Self::AuthProvider => "authProvider",
            Self::PolicyProvider => "policyProvider",
            Self::CertProvider => "certProvider",
            Self::KeyManagementProvider => "keyManagementProvider",
        }
    }
}

/// An error with a code, as every seam returns it. `Display` is v1's text. Its parts never hold a
/// secret or the body of a remote answer.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: ErrorCode,
    component: Option<ComponentType>,
    plugin: String,
    detail: Option<String>,
    remediation: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    is_transient: bool,
}

impl Error {
    /// An error that says nothing but its code yet.
    pub fn new(code: ErrorCode) -> Self {
        Self(Box::new(Parts {
            code,
            component: None,
            plugin: String::new(),
            detail: None,
            remediation: String::new(),
            source: None,
            is_transient: false,
        }))
    }

    /// What failed, on what.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Why: the cause, which may hold another [`Error`].
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What to do: a sentence or a link.
    #[must_use]
    pub fn with_remediation(mut self, remediation: impl Into<String>) -> Self {
        self.0.remediation = remediation.into();
        self
    }

    /// Where: the component and the name of the plugin.
    #[must_use]
    pub fn from_component(mut self, component: ComponentType, plugin: impl Into<String>) -> Self {
        self.0.component = Some(component);
        self.0.plugin = plugin.into();
        self
    }

    /// What stood in the way may be gone a moment later: nothing was found out about the image.
    #[must_use]
    pub fn passing(mut self, is_transient: bool) -> Self {
        self.0.is_transient |= is_transient;
        self
    }

    /// Whether it, or a cause of it, may be gone a moment later, such as a registry that is not
    /// reached. What rests on such an error is true of this moment only, and not to be kept.
    pub fn is_transient(&self) -> bool {
        let mut error = self;
        loop {
            if error.0.is_transient {
                return true;
            }
            let Some(inner) = error.inner() else { return false };
            error = inner;
        }
    }

    /// Its own code. What a user sees is the code of the [`Error::root`].
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The component and the plugin's name, for logs.
    pub fn component(&self) -> Option<(ComponentType, &str)> {
        self.0.component.map(|component| (component, self.0.plugin.as_str()))
    }

    /// The innermost error of the chain that has a code.
    pub fn root(&self) -> &Self {
        let mut root = self;
        while let Some(inner) = root.inner() {
            root = inner;
        }
        root
    }

    /// v1's `message` of a report: the details of the outer errors, and the root's own where a
    /// cause stands behind it.
    pub fn details(&self) -> String {
        let mut details = self.outer_details();
        let root = self.root();
        if root.0.source.is_some() {
            details.extend(root.0.detail.as_deref());
        }
        details.join(": ")
    }

    /// v1's `errorReason` of a report: the root's cause, or else its detail.
    pub fn reason(&self) -> String {
        let root = self.root();
        match (&root.0.source, &root.0.detail) {
            (Some(source), _) => source.to_string(),
            (None, Some(detail)) => detail.clone(),
            (None, None) => String::new(),
        }
    }

    /// v1's `remediation` of a report: the root's. Empty where there is none.
    pub fn remediation(&self) -> &str {
        &self.root().0.remediation
    }

    /// v1's `brieferror`: root code and reason, in at most `max_bytes` bytes.
    pub fn concise(&self, max_bytes: usize) -> String {
        crate::capped_line(&format!("{}: {}", self.root().0.code.value(), self.reason()), max_bytes)
    }

    /// Finds a cause of a given type anywhere below.
    pub fn find<T: StdError + 'static>(&self) -> Option<&T> {
        let mut next = self.source();
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    fn inner(&self) -> Option<&Self> {
        self.find()
    }

    fn outer_details(&self) -> Vec<&str> {
        let mut details = Vec::new();
        let mut error = self;
        while let Some(inner) = error.inner() {
            details.extend(error.0.detail.as_deref());
            error = inner;
        }
        details
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = &self.root().0;
        let mut parts: Vec<String> = self.outer_details().into_iter().map(Into::into).collect();
        parts.extend(root.detail.clone());
        parts.extend(root.source.as_ref().map(ToString::to_string));
        if !root.remediation.is_empty() {
            parts.push(root.remediation.clone());
        }
        write!(formatter, "{}: {}", root.code.value(), parts.join(": "))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Foreign(#[source] Error);

    #[test]
    fn there_are_v1s_36_codes() {
        assert_eq!(ErrorCode::ALL.len(), 36);
    }

    #[test]
    fn renders_as_v1_does() {
        use ErrorCode as C;
        let root = || C::PluginNotFound.detail("D").with_source("O").with_remediation("R");
        assert_eq!(
            C::PluginInitFailure.error().with_source(root()).to_string(),
            "PLUGIN_NOT_FOUND: D: O: R"
        );
        let inner = C::ConfigInvalid.detail("D2").with_source("O").with_remediation("R");
        let outer = C::PluginInitFailure.detail("D1").with_source(inner);
        assert_eq!(outer.to_string(), "CONFIG_INVALID: D1: D2: O: R");
        assert_eq!(C::ConfigInvalid.error().to_string(), "CONFIG_INVALID: ");
    }

    #[test]
    fn reports_take_message_reason_and_remediation_as_v1_does() {
        use ErrorCode as C;
        let outer = |source: Error| C::VerifyReferenceFailure.detail("D1").with_source(source);
        let report = outer(C::NoVerifierReport.detail("D2"));
        assert_eq!((report.details(), report.reason()), ("D1".into(), "D2".into()));
        let deep = C::ConfigInvalid
            .detail("D2")
            .with_source(Foreign(C::ResourceNotFound.detail("D3").with_remediation("R")));
        let report = outer(deep);
        assert_eq!(
            (report.details(), report.reason(), report.remediation()),
            ("D1: D2".into(), "D3".into(), "R")
        );
        let plain = C::VerifyReferenceFailure.detail("D").with_source("O");
        assert_eq!((plain.details(), plain.reason()), ("D".into(), "O".into()));
    }

    #[test]
    fn an_error_is_transient_where_a_cause_is() {
        use ErrorCode as C;
        let cause = || C::RepositoryOperationFailure.error().passing(true);
        let outer = C::ListReferrersFailure.error().with_source(Foreign(cause()));
        assert!(cause().is_transient() && outer.is_transient());
        assert!(cause().passing(false).is_transient());
        assert!(!C::ListReferrersFailure.error().with_source(C::Unknown.error()).is_transient());
    }

    #[test]
    fn a_concise_error_is_cut() {
        let error = ErrorCode::ConfigInvalid.detail("x".repeat(200));
        assert_eq!(error.concise(100).len(), 100);
        assert!(error.concise(100).ends_with("..."));
    }
}
