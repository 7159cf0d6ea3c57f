//! A run of several steps: each is announced, timed, and listed at the end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps that are done, in order, with the time each took.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs one step. A failure carries the step's name; the table of what was done before it
    /// is printed all the same.
    ///
    /// # Errors
    /// What the step returned.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("== {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        println!("== {name}: {} in {}", verdict(&result), seconds(took));
        self.done.push((name.to_owned(), took));
        if result.is_err() {
            println!("{}", self.table());
        }
        result.with_context(|| format!("step `{name}` failed"))
    }

    /// Every step and its time, a line each, and the sum.
    pub(crate) fn table(&self) -> String {
        let sum = self.done.iter().map(|(_, took)| *took).sum();
        let rows = self.done.iter().map(|(name, took)| (name.as_str(), *took));
        let lines = rows.chain([("together", sum)]);
        let lines: Vec<String> =
            lines.map(|(name, took)| format!("{name:<40} {:>9}", seconds(took))).collect();
        lines.join("\n")
    }
}

/// A duration for a person: seconds with one decimal.
pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

fn verdict(result: &Result<()>) -> &'static str {
    if result.is_ok() { "done" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_each_step_and_the_sum() {
        let steps = Steps {
            done: vec![
                ("format".to_owned(), Duration::from_millis(1_250)),
                ("unit tests".to_owned(), Duration::from_secs(61)),
            ],
        };
        insta::assert_snapshot!(steps.table(), @r"
        format                                       1.2 s
        unit tests                                  61.0 s
        together                                    62.2 s
        ");
    }

    #[test]
    fn a_step_that_fails_names_itself() {
        let error = Steps::default().run("lint", || anyhow::bail!("two warnings")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step `lint` failed: two warnings");
    }
}
