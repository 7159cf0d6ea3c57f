//! How much a registry may still be asked, as its headers tell, and what Ratify does at the end of
//! it. Pure.

use ratify_store_oras::AnswerFacts;

use super::finding::{Finding, shown};

const HEADROOM: &str = "registry.headroom";
/// What the verification of an image asks for, about: its manifest, a list, a manifest and a blob.
const REQUESTS_OF_AN_IMAGE: u64 = 4;
/// Less than this part of the limit is little.
const LITTLE: u64 = 10;

/// What a registry's headers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Limit {
    limit: Option<u64>,
    remaining: Option<u64>,
    /// In so many seconds.
    window: Option<u64>,
}

/// What is to be said, by the answers of a registry; the first that has a limit counts.
pub(super) fn judge(on: &str, answers: &[Option<AnswerFacts>]) -> Option<Finding> {
    let answers = || answers.iter().flatten();
    let limit = answers().map(|answer| Limit::read(&answer.limits)).find(Limit::is_told);
    let slower = "Ratify asks nothing as long as the registry wants a pause, then nine tenths of what it served in the second before, and more again the longer nothing is refused";
    let fix = "log in (docker login), which registries give more; keep answers longer: cacheEnabled and ttl of the store; put a mirror into hosts.toml (registries.hostsPath)";
    if let Some(busy) = answers().find(|answer| answer.status == 429) {
        let again =
            busy.retry_after.map(|wait| format!(", and wants a pause of {} s", wait.as_secs()));
        let seen = format!("it is asked too much already (429){}", again.unwrap_or_default());
        return Some(
            Finding::failure(HEADROOM, on, seen)
                .why(format!(
                    "images are refused until then, with the request to come again. {slower}"
                ))
                .fix(fix),
        );
    }
    let first = answers().next()?;
    let Some(limit) = limit else {
        return (first.status < 500).then(|| {
            let seen = "it tells no limit; 8 requests are sent at once at first, 128 at most, and fewer after the first refusal";
            Finding::ok(HEADROOM, on, seen)
        });
    };
    let seen = limit.text();
    Some(match limit.is_little() {
        false => Finding::ok(HEADROOM, on, seen),
        true => {
            let images = limit.remaining.unwrap_or_default() / REQUESTS_OF_AN_IMAGE;
            Finding::warning(HEADROOM, on, format!("{seen}: enough for about {images} images"))
                .why(format!("what is more is refused by the registry. {slower}"))
                .fix(fix)
        }
    })
}

impl Limit {
    /// Reads the headers of GitLab, Docker Hub (`100;w=21600`), of the draft of the IETF
    /// (`"default";r=50;t=30`, and before that `limit=100, remaining=50, reset=5`) and of Azure.
    fn read(headers: &[(String, String)]) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let window = parameter(value, "w");
            match name.as_str() {
                "ratelimit-limit" | "x-ratelimit-limit" => {
                    found.limit = found.limit.or(number(value));
                    found.window = found.window.or(window);
                }
                "ratelimit-remaining" | "x-ratelimit-remaining" => {
                    found.remaining = found.remaining.or(number(value));
                    found.window = found.window.or(window);
                }
                "x-ms-ratelimit-remaining-calls-per-second" => {
                    found.remaining = found.remaining.or(number(value));
                    found.window = found.window.or(Some(1));
                }
                "ratelimit" => {
                    let either = |long, short| parameter(value, long).or(parameter(value, short));
                    found.limit = found.limit.or(parameter(value, "limit"));
                    found.remaining = found.remaining.or(either("remaining", "r"));
                }
                "ratelimit-policy" => {
                    found.limit = found.limit.or(parameter(value, "q")).or(number(value));
                    found.window = found.window.or(window);
                }
                _ => {}
            }
        }
        found
    }

    fn is_told(&self) -> bool {
        self.limit.is_some() || self.remaining.is_some()
    }

    fn is_little(&self) -> bool {
        match (self.remaining, self.limit) {
            (Some(remaining), Some(limit)) => remaining.saturating_mul(LITTLE) <= limit,
            (Some(remaining), None) => remaining < REQUESTS_OF_AN_IMAGE,
            _ => false,
        }
    }

    fn text(&self) -> String {
        let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |v| v.to_string());
        let window = self.window.map(|seconds| format!(" in {seconds} s")).unwrap_or_default();
        shown(&format!(
            "{} of {} requests are left{window}",
            number(self.remaining),
            number(self.limit)
        ))
    }
}

/// The whole number that a value begins with.
fn number(value: &str) -> Option<u64> {
    let digits: String = value.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// A parameter of a value: `w` of `100;w=21600`.
fn parameter(value: &str, name: &str) -> Option<u64> {
    let pairs = value.split([';', ',']).filter_map(|part| part.trim().split_once('='));
    let mut ours = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    ours.next().and_then(|(_, value)| number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_registries_write_them() {
        let table: [(&[(&str, &str)], _); 7] = [
            (
                &[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "76;w=21600")],
                (Some(100), Some(76), Some(21600)),
            ),
            (&[("ratelimit-limit", "60"), ("ratelimit-remaining", "0")], (Some(60), Some(0), None)),
            (&[("x-ratelimit-remaining", "12")], (None, Some(12), None)),
            (&[("ratelimit", "limit=100, remaining=50, reset=5")], (Some(100), Some(50), None)),
            (
                &[
                    ("ratelimit", "\"default\";r=50;t=30"),
                    ("ratelimit-policy", "\"default\";q=100;w=60"),
                ],
                (Some(100), Some(50), Some(60)),
            ),
            (&[("x-ms-ratelimit-remaining-calls-per-second", "333.3")], (None, Some(333), Some(1))),
            (&[("ratelimit-limit", "many"), ("ratelimit-remaining", "-1")], (None, None, None)),
        ];
        for (headers, expected) in table {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let Limit { limit, remaining, window } = Limit::read(&headers);
            assert_eq!((limit, remaining, window), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_tenth_of_a_limit_is_little() {
        let limit = |remaining, limit| Limit { limit, remaining: Some(remaining), window: None };
        assert!(limit(10, Some(100)).is_little() && limit(0, None).is_little());
        assert!(!limit(11, Some(100)).is_little() && !limit(333, None).is_little());
        assert!(!Limit { limit: Some(100), ..Limit::default() }.is_little());
    }
}
