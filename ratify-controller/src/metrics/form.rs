//! [`Form`]: in which of the two text formats a scrape is answered, by what it accepts. Prometheus
//! asks for OpenMetrics; who asks for nothing in particular gets the older format, as from v1. Pure.

use http::{HeaderMap, header::ACCEPT};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Form {
    /// What a request asks for (RFC 9110, section 12.5.1). It is answered whatever it accepts.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(','));
        let mut best = (0.0, Self::Prometheus);
        for (quality, form) in ranges.filter_map(read) {
            // The first of those that are as good.
            if quality > best.0 {
                best = (quality, form);
            }
        }
        best.1
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A media range and how much it is wanted, where it is one of ours.
fn read(range: &str) -> Option<(f64, Form)> {
    let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
    let type_ = parts.next()?;
    let parameters: Vec<String> = parts.collect();
    let value = |name: &str| {
        let given = parameters.iter().filter_map(|one| one.split_once('='));
        let mut given = given.filter(|(key, _)| key.trim() == name);
        given.next().map(|(_, value)| value.trim().trim_matches('"').to_owned())
    };
    let (form, version) = match type_.as_str() {
        "application/openmetrics-text" => (Form::OpenMetrics, "1.0.0"),
        "text/plain" => (Form::Prometheus, "0.0.4"),
        "text/*" | "*/*" => (Form::Prometheus, ""),
        _ => return None,
    };
    if value("version").is_some_and(|wanted| wanted != version) {
        return None;
    }
    let quality = value("q").map_or(Some(1.0), |text| text.parse::<f64>().ok())?;
    Some((quality, form)).filter(|(quality, _)| (0.0..=1.0).contains(quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> Form {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        Form::of(&headers)
    }

    #[test]
    fn who_scrapes_gets_the_form_that_it_prefers() {
        use Form::{OpenMetrics, Prometheus};
        assert_eq!(Form::of(&HeaderMap::new()), Prometheus);
        // What Prometheus 2 and 3 send, and what they send where OpenMetrics is switched off.
        let of_prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let of_prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (of_prometheus_3, OpenMetrics),
            (of_prometheus_2, OpenMetrics),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Prometheus),
            ("*/*", Prometheus),
            ("text/plain", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\" ; q=1.0", OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Prometheus),
            ("application/openmetrics-text;q=0.2, text/plain;q=0.9", Prometheus),
            ("application/openmetrics-text;q=0, text/plain;q=0.1", Prometheus),
            ("application/openmetrics-text;q=x", Prometheus),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Prometheus),
            (",;=,", Prometheus),
        ] {
            assert_eq!(form(accept), expected, "{accept}");
        }
    }
}
