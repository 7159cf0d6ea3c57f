//! How far a download is: a bar on a terminal, a line now and then elsewhere. On stderr.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::human_size;

/// Elsewhere than on a terminal, no line comes sooner after another.
const PAUSE: Duration = Duration::from_secs(2);
const TEMPLATE: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// One download.
pub(super) struct Meter {
    name: String,
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Meter {
    /// Nothing is shown before the first bytes arrive.
    pub(super) fn new(name: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(name));
        Self { name: name.to_owned(), bar, last: Instant::now() }
    }

    /// Shows that so many of so many bytes are here.
    pub(super) fn tell(&mut self, received: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(received);
        } else if self.last.elapsed() >= PAUSE {
            self.last = Instant::now();
            eprintln!("{}", line(&self.name, received, total));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(name.to_owned())
}

fn line(name: &str, received: u64, total: u64) -> String {
    let percent = received.saturating_mul(100).checked_div(total).unwrap_or(100);
    format!("downloading {name}: {} of {} ({percent} %)", human_size(received), human_size(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_of_how_much() {
        insta::assert_snapshot!(line("sample", 1_500_000, 54_000_000), @"downloading sample: 1.5 MB of 54.0 MB (2 %)");
        insta::assert_snapshot!(line("sample", 0, 0), @"downloading sample: 0 B of 0 B (100 %)");
    }
}
