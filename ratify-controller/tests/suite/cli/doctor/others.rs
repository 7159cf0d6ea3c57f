//! What else `serve` connects to: a real Redis, and who receives traces.

use super::{Expected, assert_found, clean, examine};
use crate::{
    cli::Home,
    parity::machines::Machines,
    serve::redis::{Redis, USER},
};

#[tokio::test]
async fn redis_is_asked_with_what_serve_has_for_it() {
    let Some(machines) = Machines::find() else { return };
    let home = Home::new();
    home.write(".ratify/config.json", clean(&home).to_string());
    let [plain, over_tls] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let in_clear = Redis::start(&machines, plain.path(), false).await;
    let sealed = Redis::start(&machines, over_tls.path(), true).await;
    let wrong = home.write("wrong", "TRAP").display().to_string();
    let short = home.write("short", "TRAP").display().to_string();
    let file = |name: &str| over_tls.path().join(name).display().to_string();
    let [key, password, ca] = ["key", "password", "ca.pem"].map(file);
    let tls = format!("rediss://{}", sealed.server.address);
    let clear = format!("redis://{}", in_clear.server.address);
    let warned: Expected = &[("cache.redis", "warning")];
    let table: [(&str, [&str; 3], Expected); 5] = [
        ("over TLS", [&tls, &key, &password], &[]),
        ("in clear", [&clear, &key, &password], warned),
        ("a wrong password", [&tls, &key, &wrong], warned),
        ("a key that is too short", [&tls, &short, &password], warned),
        ("nobody there", ["rediss://127.0.0.1:1", &key, &password], warned),
    ];
    for (what, [address, key, password], expected) in table {
        let mut line = vec!["--cache-enabled", "--cache-type", "redis", "--cache-address", address];
        line.extend(["--cache-key-file", key, "--cache-password-file", password]);
        line.extend(["--cache-username", USER, "--cache-ca-file", &ca]);
        let (ran, found) = examine(&home, &line).await;
        assert_found(what, &ran, &found, expected);
        assert!(!ran.stdout.contains("TRAP"), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn who_receives_traces_is_connected_to() {
    let mut home = Home::new();
    home.write(".ratify/config.json", clean(&home).to_string());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    let (ran, found) = examine(&home, &[]).await;
    assert_found("somebody", &ran, &found, &[]);
    assert!(ran.stdout.contains("it takes connections"), "{}", ran.stdout);
    drop(listener);
    let (ran, found) = examine(&home, &[]).await;
    assert_found("nobody", &ran, &found, &[("export.otlp", "warning")]);
    // As `serve` reads the variables: what stops it is a failure, and what is off is not looked for.
    home.set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1");
    let (ran, _) = examine(&home, &[]).await;
    assert!(ran.stdout.contains(r#""on": "127.0.0.1:80""#), "{}", ran.stdout);
    home.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let (ran, found) = examine(&home, &[]).await;
    assert_found("another protocol", &ran, &found, &[("export.otlp", "failure")]);
    home.set("OTEL_SDK_DISABLED", "true");
    let (ran, found) = examine(&home, &[]).await;
    assert_found("off", &ran, &found, &[]);
    assert!(!ran.stdout.contains("export.otlp"), "{}", ran.stdout);
}
