//! Every environment variable and default path Ratify reads, read once in `main` and passed on as
//! values.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use ratify_store_oras::TlsRoots;

use crate::plugin::sign::Password;

/// The feature flag that allows `source` of an entry to be downloaded.
const DYNAMIC_PLUGINS: &str = "RATIFY_EXPERIMENTAL_DYNAMIC_PLUGINS";
/// The feature flag that lets the controller make its own certificates.
const CERT_ROTATION: &str = "RATIFY_CERT_ROTATION";

/// What OpenTelemetry's specification calls its variables, as far as they are read here.
pub(crate) const TELEMETRY: [&str; 25] = [
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
];

/// What cosign calls the directory that says which TUF repository counts.
pub(crate) const TUF_ROOT: &str = "TUF_ROOT";
/// What cosign calls that, and the files that stand for what a TUF repository says.
const SIGSTORE: [&str; 4] = [
    "SIGSTORE_ROOT_FILE",
    "SIGSTORE_REKOR_PUBLIC_KEY",
    "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE",
    TUF_ROOT,
];

/// v1's feature flags: the variable, and the name the log gives it.
const FEATURE_FLAGS: [(&str, &str); 3] = [
    (DYNAMIC_PLUGINS, "EXPERIMENTAL_DYNAMIC_PLUGINS"),
    (CERT_ROTATION, "CERT_ROTATION"),
    ("RATIFY_EXPERIMENTAL_HIGH_AVAILABILITY", "EXPERIMENTAL_HIGH_AVAILABILITY"),
];

/// What the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// The user's home: `HOME`, or else what the password file says.
    pub home: PathBuf,
    /// `RATIFY_CONFIG`, or else `<home>/.ratify`.
    pub config_dir: PathBuf,
    /// `DOCKER_CONFIG`: the directory of Docker's `config.json`.
    pub docker_config: Option<PathBuf>,
    /// `SSL_CERT_FILE`: certificates to trust beside the system's.
    pub ssl_cert_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: directories of certificates to trust, separated by colons.
    pub ssl_cert_dirs: Vec<PathBuf>,
    /// `RATIFY_NAMESPACE`: the namespace this process runs in.
    pub namespace: Option<String>,
    /// Whether there is a cluster to ask: this runs in one, or `KUBECONFIG` names one.
    pub has_cluster: bool,
    /// `HOSTNAME`, or else what the kernel says: the pod or the machine. Empty where neither does.
    pub host_name: String,
    /// `RATIFY_LOG_LEVEL`.
    pub log_level: Option<String>,
    /// `RATIFY_NAME`: the service that Gatekeeper asks; `ratify` where it is not set.
    pub service_name: String,
    /// The directory for temporary files.
    pub temporary_dir: PathBuf,
    /// The directory `plugins` beside this program, where there is one: what an image ships with.
    pub shipped_plugin_dir: Option<PathBuf>,
    /// What the clouds' auth providers read, where it is set and not empty.
    pub clouds: BTreeMap<String, String>,
    /// What cosign reads, where it is set and not empty: files of keys and certificates. `TUF_ROOT` is
    /// cosign's default where that was written.
    pub sigstore: BTreeMap<String, PathBuf>,
    /// `COSIGN_PASSWORD`, where it is set: what cosign's private keys are encrypted with.
    pub cosign_password: Option<Password>,
    /// `NO_COLOR`, set to anything: no output is coloured.
    pub no_color: bool,
    /// OpenTelemetry's variables, where they are set and not empty.
    pub telemetry: BTreeMap<String, String>,
    /// The feature flags that are set to anything, by the log's names, and whether they are on.
    pub feature_flags: Vec<(&'static str, bool)>,
}

impl Environment {
    /// Reads the process environment.
    pub fn from_process() -> Self {
        let program = std::env::current_exe().ok();
        let mut environment = Self::from_lookup(|name| std::env::var_os(name), home_of_this_user);
        environment.shipped_plugin_dir = program.and_then(|program| plugins_beside(&program));
        if !environment.sigstore.contains_key(TUF_ROOT)
            && let Some(directory) = ratify_verifier_cosign::initialized(&environment.home)
        {
            environment.sigstore.insert(TUF_ROOT.to_owned(), directory);
        }
        if environment.host_name.is_empty() {
            let of_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname");
            environment.host_name = of_kernel.unwrap_or_default().trim().to_owned();
        }
        environment
    }

    /// Reads an environment given as a function, for tests. `fallback_home` is asked where `HOME`
    /// is empty.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<OsString>,
        fallback_home: impl FnOnce() -> Option<PathBuf>,
    ) -> Self {
        let path = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").or_else(fallback_home).unwrap_or_else(|| PathBuf::from("/"));
        let text = |name: &str, default: &str| {
            let value = lookup(name).and_then(|value| value.into_string().ok());
            value.filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let flag = |(variable, name): (&str, &'static str)| Some((name, lookup(variable)? == "1"));
        let given = |name: &str| {
            let value = lookup(name)?.into_string().ok().filter(|value| !value.is_empty())?;
            Some((name.to_owned(), value))
        };
        Self {
            clouds: ratify_store_oras::auth::VARIABLES.into_iter().filter_map(given).collect(),
            sigstore: SIGSTORE
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), path(name)?)))
                .collect(),
            cosign_password: lookup("COSIGN_PASSWORD").map(Password::new),
            no_color: lookup("NO_COLOR").is_some_and(|value| !value.is_empty()),
            telemetry: TELEMETRY.into_iter().filter_map(given).collect(),
            config_dir: path("RATIFY_CONFIG").unwrap_or_else(|| home.join(".ratify")),
            docker_config: path("DOCKER_CONFIG"),
            ssl_cert_file: path("SSL_CERT_FILE"),
            ssl_cert_dirs: lookup("SSL_CERT_DIR")
                .map(|value| std::env::split_paths(&value).collect())
                .unwrap_or_default(),
            namespace: lookup("RATIFY_NAMESPACE").and_then(|value| value.into_string().ok()),
            has_cluster: path("KUBERNETES_SERVICE_HOST").or_else(|| path("KUBECONFIG")).is_some(),
            host_name: lookup("HOSTNAME").and_then(|v| v.into_string().ok()).unwrap_or_default(),
            log_level: lookup("RATIFY_LOG_LEVEL").and_then(|value| value.into_string().ok()),
            service_name: text("RATIFY_NAME", "ratify"),
            temporary_dir: path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp")),
            shipped_plugin_dir: None,
            feature_flags: FEATURE_FLAGS.into_iter().filter_map(flag).collect(),
            home,
        }
    }

    /// The namespace this process runs in, or v1's default.
    pub fn namespace_or_default(&self) -> &str {
        let named = self.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        named.unwrap_or("gatekeeper-system")
    }

    /// Certificates to trust beside the system's.
    pub fn tls_roots(&self) -> TlsRoots {
        TlsRoots { file: self.ssl_cert_file.clone(), directories: self.ssl_cert_dirs.clone() }
    }

    /// Where the configuration is when none is named.
    pub fn default_config_file(&self) -> PathBuf {
        self.config_dir.join("config.json")
    }

    /// Where plugins are when the configuration names no directory.
    pub fn default_plugin_dir(&self) -> PathBuf {
        self.config_dir.join("plugins")
    }

    /// Directories that plugins are searched in, with the shipped ones last wherever the default
    /// directory is one of them: a volume mounted there does not hide what the image ships with.
    pub fn with_shipped(&self, mut dirs: Vec<PathBuf>) -> Vec<PathBuf> {
        if let Some(shipped) = &self.shipped_plugin_dir
            && dirs.contains(&self.default_plugin_dir())
            && !dirs.contains(shipped)
        {
            dirs.push(shipped.clone());
        }
        dirs
    }

    /// Whether `source` of an entry may be downloaded: only by the exact value `1`.
    pub fn dynamic_plugins(&self) -> bool {
        self.feature_flags.contains(&("EXPERIMENTAL_DYNAMIC_PLUGINS", true))
    }

    /// Whether the controller makes its own certificates: only by the exact value `1`.
    pub fn cert_rotation(&self) -> bool {
        self.feature_flags.contains(&("CERT_ROTATION", true))
    }
}

fn plugins_beside(program: &Path) -> Option<PathBuf> {
    let plugins = program.parent()?.join("plugins");
    plugins.is_dir().then_some(plugins)
}

/// The home directory in the password file of the effective user.
fn home_of_this_user() -> Option<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    home_in_passwd(&std::fs::read_to_string("/etc/passwd").ok()?, user)
}

fn home_in_passwd(passwd: &str, user: u32) -> Option<PathBuf> {
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut entries = entry.filter(|fields| fields.len() >= 6 && fields[2].parse() == Ok(user));
    entries.next().map(|fields| Path::new(fields[5]).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        let lookup = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        Environment::from_lookup(lookup, || Some("/pw".into()))
    }

    #[test]
    fn paths_come_from_ratify_config_or_home_or_the_password_file() {
        let environment = read(&[("HOME", "/h"), ("RATIFY_CONFIG", "")]);
        assert_eq!(environment.default_config_file(), Path::new("/h/.ratify/config.json"));
        let environment = read(&[("RATIFY_CONFIG", "/c")]);
        assert_eq!(environment.default_plugin_dir(), Path::new("/c/plugins"));
        assert_eq!(environment.home, Path::new("/pw"));
    }

    #[test]
    fn shipped_plugins_come_last_and_only_where_the_default_directory_is_searched() {
        let mut environment = read(&[("RATIFY_CONFIG", "/.ratify/")]);
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        let default = paths(&["/.ratify/plugins/"]);
        assert_eq!(environment.with_shipped(default.clone()), default);
        environment.shipped_plugin_dir = Some("/app/plugins".into());
        let both = paths(&["/.ratify/plugins", "/app/plugins"]);
        assert_eq!(environment.with_shipped(default), both);
        assert_eq!(environment.with_shipped(both.clone()), both);
        assert_eq!(environment.with_shipped(paths(&["/elsewhere"])), paths(&["/elsewhere"]));
        assert_eq!(environment.with_shipped(Vec::new()), paths(&[]));
    }

    #[test]
    fn the_shipped_directory_is_beside_the_program_and_is_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("ratify");
        assert_eq!(plugins_beside(&program), None);
        std::fs::write(dir.path().join("plugins"), "").unwrap();
        assert_eq!(plugins_beside(&program), None);
        std::fs::remove_file(dir.path().join("plugins")).unwrap();
        std::fs::create_dir(dir.path().join("plugins")).unwrap();
        assert_eq!(plugins_beside(&program), Some(dir.path().join("plugins")));
    }

    #[test]
    fn a_flag_is_on_only_by_the_value_one_and_unset_is_not_listed() {
        assert_eq!(read(&[]).feature_flags, []);
        for (value, on) in [("1", true), ("true", false), ("", false), ("01", false)] {
            let environment = read(&[(DYNAMIC_PLUGINS, value)]);
            assert_eq!(environment.feature_flags, [("EXPERIMENTAL_DYNAMIC_PLUGINS", on)]);
            assert_eq!(environment.dynamic_plugins(), on);
        }
    }

    #[test]
    fn the_service_is_v1s_where_nothing_else_is_said() {
        let environment = read(&[("RATIFY_CERT_ROTATION", "1"), ("RATIFY_NAME", "")]);
        assert!(environment.cert_rotation() && !read(&[]).cert_rotation());
        let names = (environment.service_name.as_str(), environment.namespace_or_default());
        assert_eq!(names, ("ratify", "gatekeeper-system"));
        let environment = read(&[("RATIFY_NAME", "r"), ("RATIFY_NAMESPACE", "n")]);
        assert_eq!(
            (environment.service_name.as_str(), environment.namespace_or_default()),
            ("r", "n")
        );
    }

    #[test]
    fn of_a_clouds_variables_only_those_that_are_known_and_set_are_read() {
        let environment = read(&[
            ("AWS_REGION", "us-east-1"),
            ("AWS_ROLE_ARN", ""),
            ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ]);
        let expected = BTreeMap::from([("AWS_REGION".to_owned(), "us-east-1".to_owned())]);
        assert_eq!(environment.clouds, expected);
    }

    #[test]
    fn a_password_is_there_where_it_is_set_to_whatever() {
        use std::os::unix::ffi::OsStringExt as _;
        for bytes in [&b""[..], b"p", b"p\xff"] {
            let value = OsString::from_vec(bytes.to_vec());
            let lookup = |name: &str| (name == "COSIGN_PASSWORD").then(|| value.clone());
            let read = Environment::from_lookup(lookup, || None);
            assert_eq!(read.cosign_password, Some(Password::new(value.clone())));
        }
        assert_eq!(read(&[]).cosign_password, None);
    }

    #[test]
    fn the_password_file_is_searched_by_user_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nu:x:65532:65532::/home/u:/bin/false\n";
        assert_eq!(home_in_passwd(passwd, 65532), Some("/home/u".into()));
        assert_eq!(home_in_passwd(passwd, 7), None);
    }
}
