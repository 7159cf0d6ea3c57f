//! The chain of timeouts: who waits for whom, and which of them is shorter than the one inside it.
//! Pure. How long an answer may take is decided as the server decides it (`gatekeeper::times`).

use std::time::Duration;

use ratify_core::config::ExecutorConfig;
use serde::Serialize;

use super::finding::Finding;
use crate::gatekeeper::times::{Waiter, answer_within};

const WORK: &str = "timeouts.work";
/// How wide the longest bar is.
const WIDTH: u64 = 40;
/// An answer that has less is late for many a registry.
const LITTLE: Duration = Duration::from_millis(900);

/// One of the two questions, and who waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chain {
    /// `verification` or `mutation`.
    pub(super) of: &'static str,
    /// Outermost first.
    pub(super) links: Vec<Link>,
}

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// Who waits for what.
    pub(super) who: &'static str,
    pub(super) milliseconds: u64,
    /// Where it is set.
    pub(super) setting: String,
    /// Whether it is shorter than the one inside it, or leaves that no time.
    pub(super) is_too_short: bool,
}

/// Who waits in front of Ratify, as far as the cluster tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct InFront {
    /// The API server, for Gatekeeper's webhook.
    pub(super) webhook: Option<Waiter>,
    /// Gatekeeper, for the Provider.
    pub(super) provider: Option<Waiter>,
}

/// Which question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Verification,
    Mutation,
}

impl Question {
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Verification => {
                ("verification", "timeouts.verification", "verificationRequestTimeout")
            }
            Self::Mutation => ("mutation", "timeouts.mutation", "mutationRequestTimeout"),
        }
    }

    fn configured(self, executor: &ExecutorConfig) -> Duration {
        Duration::from_millis(match self {
            Self::Verification => executor.verification_ms(),
            Self::Mutation => executor.mutation_ms(),
        })
    }
}

/// The chain of a question, and what is to be said of it.
pub(super) fn judge(
    question: Question,
    executor: &ExecutorConfig,
    front: &InFront,
) -> (Chain, Finding) {
    let (of, id, key) = question.words();
    let configured = question.configured(executor);
    let waiters: Vec<Waiter> = front.webhook.iter().chain(&front.provider).cloned().collect();
    let decision = answer_within(configured, key, &waiters);
    let mut links = Vec::new();
    for (who, waiter) in [
        ("the API server waits for Gatekeeper", &front.webhook),
        ("Gatekeeper waits for Ratify", &front.provider),
    ] {
        let Some(waiter) = waiter else { continue };
        links.push(Link::new(who, waiter.waits, waiter.name.clone()));
    }
    links.push(Link::new("Ratify answers within", configured, format!("executor.{key}")));
    for at in 1..links.len() {
        links[at - 1].is_too_short = links[at - 1].milliseconds <= links[at].milliseconds;
    }
    // Registries and plugins have the longer time: what is late is finished for who asks again.
    let work = executor.give_up_after();
    links.push(Link::new("work is given up after", work, "executor.giveUpAfter".to_owned()));
    let chain = Chain { of, links };
    let finding = finding(id, key, configured, &chain, &waiters, decision.within);
    (chain, finding)
}

fn finding(
    id: &'static str,
    key: &str,
    configured: Duration,
    chain: &Chain,
    waiters: &[Waiter],
    within: Duration,
) -> Finding {
    let section = |text: &str| format!(r#"set "executor": {{{text}}} in the configuration"#);
    if configured.is_zero() {
        return Finding::failure(id, "", format!("executor.{key} leaves no time"))
            .why("every request is late, and refused")
            .fix(section(&format!(
                r#""{key}": {}"#,
                if key.starts_with('v') { 2900 } else { 950 }
            )));
    }
    let outer = &chain.links[..chain.links.len() - 1];
    let mut short = outer.iter().zip(outer.iter().skip(1)).filter(|(outer, _)| outer.is_too_short);
    if let Some((outer, inner)) = short.next() {
        let admits = waiters.iter().any(|waiter| waiter.admits_then);
        let then = match admits {
            true => {
                "and failurePolicy is Ignore: an image that is answered later than that is admitted without being verified"
            }
            false => "an image that takes longer is refused, and its reason is lost",
        };
        let seen = format!(
            "{} for {}, which is no longer than {} ({})",
            outer.who,
            text(outer.milliseconds),
            text(inner.milliseconds),
            inner.who
        );
        return Finding::warning(id, "", seen)
            .why(format!("Ratify answers within {} then; {then}", text(milliseconds(within))))
            .fix(longer(&outer.setting, outer, inner));
    }
    let seen = format!("an answer has {}", text(milliseconds(within)));
    match waiters.is_empty() {
        _ if within < LITTLE && id == "timeouts.verification" => Finding::warning(id, "", seen)
            .why("many a registry takes longer for what a verification asks")
            .fix(section(&format!(r#""{key}": 2900"#))),
        true => Finding::ok(id, "", format!("{seen}; how long Gatekeeper waits is not known here")),
        false => Finding::ok(id, "", seen),
    }
}

/// Where the outer of two is set, to be longer than the inner one.
fn longer(setting: &str, outer: &Link, inner: &Link) -> String {
    let seconds = inner.milliseconds / 1000 + 2;
    let is_mutation = setting.contains("mutati");
    if setting.starts_with("executor.") {
        return format!("set {setting} in the configuration to more than {}", inner.milliseconds);
    }
    if setting.contains("of the Provider") {
        let value = if is_mutation { "mutationTimeoutSeconds" } else { "validationTimeoutSeconds" };
        let less = outer.milliseconds.saturating_sub(100).max(100);
        let key = if is_mutation { "mutationRequestTimeout" } else { "verificationRequestTimeout" };
        return format!(
            "helm upgrade of Ratify with --reuse-values --set provider.timeout.{value}={}, or set executor.{key} to {less}",
            inner.milliseconds / 1000 + 1
        );
    }
    let value = match is_mutation {
        true => "mutatingWebhookTimeoutSeconds",
        false => "validatingWebhookTimeoutSeconds",
    };
    format!(
        "helm upgrade gatekeeper gatekeeper/gatekeeper -n gatekeeper-system --reuse-values --set {value}={seconds}"
    )
}

/// What is to be said of how long work goes on.
pub(super) fn work(executor: &ExecutorConfig) -> Finding {
    let work = executor.give_up_after();
    let seen = format!("work is given up after {}", text(milliseconds(work)));
    let answer = Duration::from_millis(executor.verification_ms());
    if work >= answer {
        return Finding::ok(WORK, "", seen);
    }
    Finding::warning(
        WORK,
        "",
        format!("{seen}, before an answer is due ({})", text(milliseconds(answer))),
    )
    .why("an image that a slow registry delays is refused although there would be time")
    .fix(format!(
        r#"set "executor": {{"giveUpAfter": 30000}} in the configuration, which is more than {}"#,
        milliseconds(answer)
    ))
}

impl Link {
    fn new(who: &'static str, time: Duration, setting: String) -> Self {
        Self { who, milliseconds: milliseconds(time), setting, is_too_short: false }
    }
}

/// The chain as bars on one scale, the longest of those that wait for an answer as wide as any. Work
/// that goes on for longer has an arrow.
pub(super) fn picture(chain: &Chain) -> String {
    let (answers, work) = chain.links.split_at(chain.links.len().saturating_sub(1));
    let most = answers.iter().map(|link| link.milliseconds).max().unwrap_or(0).max(1);
    let width = chain.links.iter().map(|link| link.who.len()).max().unwrap_or(0);
    let mut lines = vec![format!("{}: who waits for whom, outermost first", chain.of)];
    for link in answers.iter().chain(work) {
        let length = link.milliseconds.saturating_mul(WIDTH).div_ceil(most);
        let bar = match length > WIDTH {
            true => format!("{}>", "=".repeat(WIDTH as usize - 1)),
            false => "=".repeat(usize::try_from(length).unwrap_or(0)),
        };
        let mark =
            if link.is_too_short { "  <-- shorter than the one inside, or no longer" } else { "" };
        let (who, time, setting) = (link.who, text(link.milliseconds), &link.setting);
        lines.push(format!("  {who:<width$} |{bar:<40}| {time:>7}  {setting}{mark}"));
    }
    lines.join("\n")
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn text(milliseconds: u64) -> String {
    format!("{}.{:02} s", milliseconds / 1000, milliseconds % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn waiter(name: &str, seconds: u64, admits_then: bool) -> Option<Waiter> {
        Some(Waiter { name: name.to_owned(), waits: Duration::from_secs(seconds), admits_then })
    }

    fn front(webhook: u64, provider: u64, admits_then: bool) -> InFront {
        InFront {
            webhook: waiter(
                "timeoutSeconds of the webhook validation.gatekeeper.sh",
                webhook,
                admits_then,
            ),
            provider: waiter("spec.timeout of the Provider ratify-provider", provider, false),
        }
    }

    fn executor(verification: i64) -> ExecutorConfig {
        let mut executor = ExecutorConfig::default();
        executor.verification_request_timeout_ms = Some(verification);
        executor
    }

    #[test]
    fn what_the_documents_recommend_is_in_order_and_gatekeepers_own_is_not() {
        let table = [
            (front(7, 5, false), 4900, State::Ok),
            (front(3, 5, true), 4900, State::Warning),
            (front(5, 5, false), 4900, State::Warning),
            (front(7, 5, false), 5000, State::Warning),
            (front(7, 5, false), 0, State::Failure),
            (InFront::default(), 2900, State::Ok),
            (InFront::default(), 500, State::Warning),
        ];
        for (front, configured, expected) in table {
            let (_, finding) = judge(Question::Verification, &executor(configured), &front);
            assert_eq!(finding.state, expected, "{finding:?}");
            assert_eq!(finding.fix.is_empty(), expected == State::Ok, "{finding:?}");
        }
    }

    #[test]
    fn the_picture_says_which_is_shorter_than_the_one_inside() {
        let (chain, finding) = judge(Question::Verification, &executor(4900), &front(3, 5, true));
        insta::assert_snapshot!(picture(&chain), @r"
        verification: who waits for whom, outermost first
          the API server waits for Gatekeeper |========================                |  3.00 s  timeoutSeconds of the webhook validation.gatekeeper.sh  <-- shorter than the one inside, or no longer
          Gatekeeper waits for Ratify         |========================================|  5.00 s  spec.timeout of the Provider ratify-provider
          Ratify answers within               |========================================|  4.90 s  executor.verificationRequestTimeout
          work is given up after              |=======================================>| 30.00 s  executor.giveUpAfter
        ");
        insta::assert_snapshot!(format!("{}\n{}\n{}", finding.seen, finding.why, finding.fix), @r"
        the API server waits for Gatekeeper for 3.00 s, which is no longer than 5.00 s (Gatekeeper waits for Ratify)
        Ratify answers within 2.85 s then; and failurePolicy is Ignore: an image that is answered later than that is admitted without being verified
        helm upgrade gatekeeper gatekeeper/gatekeeper -n gatekeeper-system --reuse-values --set validatingWebhookTimeoutSeconds=7
        ");
        let (chain, _) = judge(Question::Verification, &executor(4900), &front(7, 5, false));
        insta::assert_snapshot!(picture(&chain), @r"
        verification: who waits for whom, outermost first
          the API server waits for Gatekeeper |========================================|  7.00 s  timeoutSeconds of the webhook validation.gatekeeper.sh
          Gatekeeper waits for Ratify         |=============================           |  5.00 s  spec.timeout of the Provider ratify-provider
          Ratify answers within               |============================            |  4.90 s  executor.verificationRequestTimeout
          work is given up after              |=======================================>| 30.00 s  executor.giveUpAfter
        ");
    }

    #[test]
    fn work_has_to_go_on_for_as_long_as_an_answer_may_take() {
        let mut executor = executor(4900);
        assert_eq!(work(&executor).state, State::Ok);
        executor.give_up_after = Some(Duration::from_secs(2));
        assert_eq!(work(&executor).state, State::Warning);
    }
}
