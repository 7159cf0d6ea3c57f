//! The machine a run was made on: as much as a reader needs to judge the figures, and nothing that
//! names it.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use crate::process;

/// Cores, kernel, day, and how much else ran.
pub(super) struct Machine {
    cores: usize,
    kernel: String,
    date: String,
    /// Runnable tasks, averaged over the last minute: before the run, and after it.
    load: (f64, Option<f64>),
}

impl Machine {
    /// Looks at the machine before a run.
    ///
    /// # Errors
    /// When /proc or `date` do not answer.
    pub(super) fn read() -> Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        let date = process::capture(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
        Ok(Self {
            cores: thread::available_parallelism()?.get(),
            kernel: version(&release).to_owned(),
            date: date.trim().to_owned(),
            load: (load()?, None),
        })
    }

    /// Looks again after it.
    ///
    /// # Errors
    /// As [`Machine::read`].
    pub(super) fn until_now(self) -> Result<Self> {
        Ok(Self { load: (self.load.0, Some(load()?)), ..self })
    }
}

impl Display for Machine {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { cores, kernel, date, load: (before, after) } = self;
        write!(
            formatter,
            "{cores} cores, Linux {kernel}, {date}; load average {before:.1} before"
        )?;
        match after {
            Some(after) => write!(formatter, " and {after:.1} after the run"),
            None => Ok(()),
        }
    }
}

/// The numbers of a kernel's release; what a distributor or host adds says nothing about speed.
fn version(release: &str) -> &str {
    let release = release.trim();
    release.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or(release)
}

fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read the load average")?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.context("/proc/loadavg is not as proc_loadavg(5) says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_its_cores_kernel_and_day() {
        let machine = Machine {
            cores: 2,
            kernel: version("6.18.44-host-v9\n").to_owned(),
            date: "2026-11-24".to_owned(),
            load: (0.25, Some(2.0)),
        };
        insta::assert_snapshot!(machine, @"2 cores, Linux 6.18.44, 2026-11-24; load average 0.2 before and 2.0 after the run");
    }
}
