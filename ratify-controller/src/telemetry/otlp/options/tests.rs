//! What each variable means.

use std::ffi::OsString;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Environment::from_lookup(lookup, || None)
}

fn read(variables: &[(&str, &str)]) -> Result<Option<OtlpOptions>, String> {
    OtlpOptions::from_environment(&environment(variables)).map_err(|error| error.to_string())
}

/// With a collector, and this besides.
fn with(more: &[(&str, &str)]) -> Result<OtlpOptions, String> {
    let collector = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")];
    read(&[&collector, more].concat()).map(Option::unwrap)
}

#[test]
fn without_a_collector_and_where_it_is_said_nothing_is_sent() {
    assert!(read(&[]).unwrap().is_none());
    assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_none());
    for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), off]).unwrap().is_none());
    }
}

#[test]
fn the_endpoint_of_traces_is_taken_as_it_is_and_the_common_one_has_a_path_added() {
    let endpoint = |variables: &[(&str, &str)]| {
        read(variables).unwrap().map(|options| options.endpoint.to_string()).unwrap()
    };
    let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example.com/base/");
    assert_eq!(endpoint(&[common]), "https://c.example.com/base/v1/traces");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x");
    assert_eq!(endpoint(&[common, own]), "http://c:1/x");
    let secret = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:pass@c:1/x?key=k");
    assert_eq!(read(&[secret]).unwrap().unwrap().shown(), "http://c:1/x");
}

#[test]
fn each_variable_is_read() {
    let options = with(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, x-tenant = a"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_SERVICE_NAME", "gate"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_SCHEDULE_DELAY", "7"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("HOSTNAME", "pod-1"),
        ("RATIFY_NAMESPACE", "gatekeeper-system"),
    ])
    .unwrap();
    assert_eq!(options.headers["authorization"], "Bearer x");
    assert_eq!(options.headers["x-tenant"], "a");
    assert_eq!(format!("{:?}", options.headers["authorization"]), "Sensitive");
    assert_eq!(options.timeout, Duration::from_millis(2500));
    assert_eq!((options.queue_spans, options.batch_spans), (10, 10));
    assert_eq!(options.delay, Duration::from_millis(7));
    let certificate = ("OTEL_EXPORTER_OTLP_CERTIFICATE", PathBuf::from("/ca.pem"));
    assert_eq!(options.certificate, Some(certificate));
    let shown: Vec<_> = options.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
    insta::assert_snapshot!(shown.join("\n").replace(env!("CARGO_PKG_VERSION"), "[version]"), @r"
    host.name=pod-1
    k8s.namespace.name=gatekeeper-system
    service.name=gate
    service.version=[version]
    team=a,b
    telemetry.sdk.language=rust
    telemetry.sdk.name=opentelemetry
    ");
}

#[test]
fn samplers_are_those_of_the_specification() {
    let sampling = |name: &str, ratio: &str| {
        let sampler = with(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", ratio)]);
        sampler.map(|options| (options.sampling.by_parent, options.sampling.ratio))
    };
    assert_eq!(sampling("", ""), Ok((true, 1.0)));
    assert_eq!(sampling("always_on", ""), Ok((false, 1.0)));
    assert_eq!(sampling("parentbased_always_off", ""), Ok((true, 0.0)));
    assert_eq!(sampling("traceidratio", "0.25"), Ok((false, 0.25)));
    assert_eq!(sampling("parentbased_traceidratio", ""), Ok((true, 1.0)));
}

#[test]
fn what_is_wrong_is_said_with_its_variable_and_never_with_a_secret() {
    let wrong = |variable: &str, value: &str| with(&[(variable, value)]).err().unwrap();
    let texts = [
        wrong("OTEL_SDK_DISABLED", "yes"),
        wrong("OTEL_TRACES_EXPORTER", "zipkin"),
        wrong("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:hunter2"),
        wrong("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://u:hunter2@c"),
        wrong("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        wrong("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
        wrong("OTEL_EXPORTER_OTLP_HEADERS", "authorization hunter2"),
        wrong("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2"),
        wrong("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0a"),
        wrong("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        wrong("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        wrong("OTEL_RESOURCE_ATTRIBUTES", "team=%zz"),
        wrong("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        wrong("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        with(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")])
            .err()
            .unwrap(),
    ];
    assert!(!texts.join("\n").contains("hunter2"));
    insta::assert_snapshot!(texts.join("\n"), @r#"
    OTEL_SDK_DISABLED is "yes": it is true or false
    OTEL_TRACES_EXPORTER is "zipkin": otlp and none are known
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is "(not shown)": it begins with http:// or https://
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is "(not shown)": it begins with http:// or https://
    OTEL_EXPORTER_OTLP_PROTOCOL is "grpc": only http/protobuf is spoken here (port 4318 of most collectors)
    OTEL_EXPORTER_OTLP_TRACES_COMPRESSION is "gzip": only none is known here
    OTEL_EXPORTER_OTLP_HEADERS is "(not shown)": an entry has no =; it is name=value,name=value
    OTEL_EXPORTER_OTLP_HEADERS is "(not shown)": a name is no header's
    OTEL_EXPORTER_OTLP_HEADERS is "(not shown)": a value is no header's
    OTEL_EXPORTER_OTLP_TIMEOUT is "10s": it is a whole number, a million at most
    OTEL_EXPORTER_OTLP_CLIENT_KEY names /key.pem: a certificate and a key are needed, and only one is named
    OTEL_RESOURCE_ATTRIBUTES is "team=%zz": a % is not followed by two hexadecimal digits
    OTEL_TRACES_SAMPLER is "jaeger_remote": always_on, always_off and traceidratio are known, each also behind parentbased_
    OTEL_BSP_MAX_QUEUE_SIZE is "-1": it is a whole number, a million at most
    OTEL_TRACES_SAMPLER_ARG is "2": it is a number from 0 to 1
    "#);
}

#[test]
fn a_ratio_keeps_that_part_of_traces_and_a_parent_has_the_last_word_where_it_has_one() {
    let all = |by_parent, ratio| Sampling { by_parent, ratio };
    let ids = (0..1000_u128).map(|n| (n << 64) | (n * (u128::from(u64::MAX) / 1000)));
    let kept = ids.filter(|id| all(false, 0.25).keeps(*id, Some(true))).count();
    assert_eq!(kept, 250);
    assert!(all(false, 1.0).keeps(u128::MAX, None) && !all(false, 0.0).keeps(0, None));
    assert!(all(true, 0.0).keeps(1, Some(true)) && !all(true, 1.0).keeps(1, Some(false)));
    assert!(all(true, 1.0).keeps(1, None));
}
