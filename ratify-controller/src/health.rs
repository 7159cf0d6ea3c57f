//! Whether this process is alive and ready, and who is told: `/healthz` and `/readyz` as
//! controller-runtime serves them. The most important item is [`Readiness`].
//!
//! Alive is who answers. Ready is who has every [`Check`] set; `?verbose` lists them with the
//! reason, which is never a secret nor a tenant's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{Router, extract::Request, response::IntoResponse, response::Response};
use http::{StatusCode, header};

/// The named checks of a process.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, Check>>>);

/// One of them.
#[derive(Debug, Clone)]
pub struct Check(Arc<Mutex<State>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    detail: String,
    /// From when on it is set; `None` for not yet.
    since: Option<Instant>,
}

impl Readiness {
    /// A check of this name that is not set yet; the same one for the same name.
    pub fn check(&self, name: &str) -> Check {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.entry(name.to_owned()).or_insert_with(|| Check::new("not tried yet")).clone()
    }

    /// Whether all are set.
    pub fn is_ready(&self) -> bool {
        let now = Instant::now();
        self.checks().values().all(|check| check.get().is_set(now))
    }

    fn checks(&self) -> BTreeMap<String, Check> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Check {
    fn new(detail: &str) -> Self {
        Self(Arc::new(Mutex::new(State { detail: detail.to_owned(), since: None })))
    }

    /// Sets it.
    pub fn ready(&self, detail: impl Into<String>) {
        self.set(State { detail: detail.into(), since: Some(Instant::now()) });
    }

    /// Sets it from a time on, whatever happens until then.
    pub fn ready_from(&self, since: Instant, detail: impl Into<String>) {
        self.set(State { detail: detail.into(), since: Some(since) });
    }

    /// Takes it back, or says why it is not set yet.
    pub fn waiting(&self, detail: impl Into<String>) {
        self.set(State { detail: detail.into(), since: None });
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn get(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State {
    fn is_set(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| since <= now)
    }
}

/// The two endpoints, and one below them for each check.
pub fn router(readiness: Readiness) -> Router {
    let alive = Readiness::default();
    alive.check("healthz").ready("alive");
    Router::new().fallback(move |request: Request| {
        let (alive, readiness) = (alive.clone(), readiness.clone());
        async move { answer(request.uri(), &alive, &readiness) }
    })
}

fn answer(uri: &http::Uri, alive: &Readiness, readiness: &Readiness) -> Response {
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty());
    let asked = match parts.next() {
        Some("healthz") => alive,
        Some("readyz") => readiness,
        _ => return text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    };
    let query = uri.query().unwrap_or_default();
    match (parts.next(), parts.next()) {
        (None, _) => all(asked, query),
        (Some(name), None) => one(asked, name),
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
    }
}

/// All checks at once. A list on failure, or where it is asked for.
fn all(asked: &Readiness, query: &str) -> Response {
    let pairs = || url::form_urlencoded::parse(query.as_bytes());
    let mut excluded: Vec<String> =
        pairs().filter(|(key, _)| key == "exclude").map(|(_, name)| name.into_owned()).collect();
    let is_verbose = pairs().any(|(key, _)| key == "verbose");
    let (mut list, mut failed, now) = (String::new(), false, Instant::now());
    for (name, check) in asked.checks() {
        let state = check.get();
        if excluded.contains(&name) {
            excluded.retain(|other| *other != name);
            list.push_str(&format!("[+]{name} excluded: ok\n"));
        } else if state.is_set(now) {
            list.push_str(&format!("[+]{name} ok: {}\n", state.detail));
        } else {
            failed = true;
            list.push_str(&format!("[-]{name} failed: {}\n", state.detail));
        }
    }
    if !failed && !is_verbose {
        return text(StatusCode::OK, "ok".to_owned());
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().take(10).map(|name| format!("{name:?}")).collect();
        let names = ratify_core::capped_line(&names.join(","), 200);
        list.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {names}\n"
        ));
    }
    let status = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    list.push_str(if failed { "healthz check failed\n" } else { "healthz check passed\n" });
    text(status, list)
}

fn one(asked: &Readiness, name: &str) -> Response {
    match asked.checks().get(name).map(Check::get) {
        None => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        Some(state) if state.is_set(Instant::now()) => text(StatusCode::OK, "ok".to_owned()),
        Some(state) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {}\n", state.detail),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use tower::Service as _;

    use super::*;

    async fn ask(readiness: &Readiness, path: &str) -> (u16, String) {
        let request = Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
        let response = router(readiness.clone()).call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_is_who_has_every_check_set_and_the_list_says_which_is_missing() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.check("first"), readiness.check("second"));
        first.ready("done");
        insta::assert_snapshot!(ask(&readiness, "/readyz").await.1, @r"
        [+]first ok: done
        [-]second failed: not tried yet
        healthz check failed
        ");
        assert_eq!(ask(&readiness, "/readyz/").await.0, 500);
        assert_eq!(ask(&readiness, "/readyz/first").await, (200, "ok".into()));
        assert_eq!(ask(&readiness, "/readyz/second").await.0, 500);
        assert_eq!(ask(&readiness, "/healthz").await, (200, "ok".into()));
        second.ready("done too");
        assert!(readiness.is_ready());
        assert_eq!(ask(&readiness, "/readyz").await, (200, "ok".into()));
        insta::assert_snapshot!(ask(&readiness, "/readyz?verbose").await.1, @r"
        [+]first ok: done
        [+]second ok: done too
        healthz check passed
        ");
        second.waiting("gone");
        insta::assert_snapshot!(ask(&readiness, "/readyz?exclude=second&exclude=x&verbose=1").await.1, @r#"
        [+]first ok: done
        [+]second excluded: ok
        warn: some health checks cannot be excluded: no matches for "x"
        healthz check passed
        "#);
    }

    #[tokio::test]
    async fn what_controller_runtime_does_not_serve_is_not_served() {
        let readiness = Readiness::default();
        for path in ["/", "/metrics", "/readyz/none", "/readyz/a/b", "/healthz/ping"] {
            assert_eq!(ask(&readiness, path).await.0, 404, "{path}");
        }
        insta::assert_snapshot!(ask(&readiness, "/healthz?verbose").await.1, @r"
        [+]healthz ok: alive
        healthz check passed
        ");
    }

    #[test]
    fn a_check_may_be_set_from_a_time_on() {
        let readiness = Readiness::default();
        let check = readiness.check("late");
        check.ready_from(Instant::now() + Duration::from_secs(60), "waits");
        assert!(!readiness.is_ready());
        check.ready_from(Instant::now(), "waited");
        assert!(readiness.is_ready());
    }
}
