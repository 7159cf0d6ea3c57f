//! [`Compiled`]: a loaded policy in regorus, evaluated in bounds.

use std::{
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use regorus::{
    Engine, Value,
    utils::limits::{ExecutionTimerConfig, TimeSource, set_time_source},
};

use super::{
    builtins::{self, Means, Site},
    load::{self, Loaded},
};

/// How long one evaluation may take. Policies that were seen take less than a millisecond.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(1);
/// The largest input, as JSON.
pub(super) const MAX_INPUT_BYTES: usize = 8 << 20;
/// After so many steps the clock is looked at.
const STEPS: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

/// A policy that is ready to be evaluated any number of times.
#[derive(Clone)]
pub(super) struct Compiled {
    engine: Engine,
    package: String,
    rules: Vec<String>,
    site: Site,
}

impl Compiled {
    /// # Errors
    /// When the policy is refused; the text says where and why.
    pub(super) fn new(policy: &str) -> Result<Self, String> {
        let Loaded { text, package, rules } =
            load::load(policy).map_err(|refused| refused.to_string())?;
        start_clock();
        let mut engine = Engine::new();
        engine.set_rego_v0(true);
        engine.set_strict_builtin_errors(true);
        engine.set_policy_length_config(lengths(&text));
        let refused = |error: String| {
            let error = builtins::plain(&error);
            format!("1 error occurred: {}: rego_compile_error: {error}", load::FILE)
        };
        let added = engine.add_policy(load::FILE.to_owned(), text);
        added.map_err(|error| refused(error.to_string()))?;
        if let Some(rule) = rules.first() {
            let path = format!("data.{package}.{rule}");
            let compiled = engine.compile_with_entrypoint(&path.as_str().into());
            compiled.map_err(|error| refused(error.to_string()))?;
        }
        Ok(Self { engine, package, rules, site: Site::new()? })
    }

    /// The value of `data.<path>`; nothing where it is undefined.
    ///
    /// # Errors
    /// When the evaluation fails or takes too long.
    pub(super) fn evaluate(
        &self,
        path: &str,
        input: &str,
        now: SystemTime,
        limit: Duration,
    ) -> Result<Option<Value>, String> {
        let prefix = format!("{}.", self.package);
        let rule = path.strip_prefix(&prefix);
        let Some(rule) = rule.filter(|rule| self.rules.iter().any(|known| known == rule)) else {
            return Ok(None);
        };
        if input.len() > MAX_INPUT_BYTES {
            return Err(format!("the reports have more than {MAX_INPUT_BYTES} bytes"));
        }
        let work = AssertUnwindSafe(|| self.run(rule, input, now, limit));
        catch_unwind(work).unwrap_or_else(|_| Err("the evaluation panicked".to_owned()))
    }

    fn run(
        &self,
        rule: &str,
        input: &str,
        now: SystemTime,
        limit: Duration,
    ) -> Result<Option<Value>, String> {
        let failed = |error: String| builtins::plain(&error);
        let mut engine = self.engine.clone();
        let now = now.duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
        let now = i64::try_from(now.as_nanos()).map_err(|error| error.to_string())?;
        builtins::register(&mut engine, &self.site, Means::new(now))?;
        let input = Value::from_json_str(input).map_err(|error| failed(error.to_string()))?;
        engine.set_input(input);
        engine.set_execution_timer_config(ExecutionTimerConfig { limit, check_interval: STEPS });
        let value = engine.eval_rule(format!("data.{}.{rule}", self.package));
        match value.map_err(|error| failed(error.to_string()))? {
            Value::Undefined => Ok(None),
            value => Ok(Some(value)),
        }
    }
}

/// The text that is given to regorus has a rule on a line, and its size is bounded already.
fn lengths(text: &str) -> regorus::PolicyLengthConfig {
    let columns = u32::try_from(text.len()).ok().and_then(NonZeroU32::new);
    let mut lengths = regorus::PolicyLengthConfig::default();
    lengths.max_col = columns.map_or(lengths.max_col, |columns| columns.saturating_add(1));
    lengths
}

/// regorus measures time by a clock that it is given once a process; with none there is no limit.
fn start_clock() {
    static STARTED: OnceLock<()> = OnceLock::new();
    // It is an error only where there is a clock already.
    STARTED.get_or_init(|| set_time_source(&Clock).unwrap_or_default());
}

struct Clock;

impl TimeSource for Clock {
    fn now(&self) -> Option<Duration> {
        static START: OnceLock<Instant> = OnceLock::new();
        Some(START.get_or_init(Instant::now).elapsed())
    }
}
