//! Every check by its stable id, in the order in which a report has them.

/// All of them. docs/DOCTOR.md explains each.
pub(super) const CHECKS: &[&str] = &[
    "configuration.file",
    "configuration.keys",
    "configuration.store",
    "configuration.verifier",
    "configuration.policy",
    "configuration.rules",
    "plugin.found",
    "plugin.program",
    "plugin.digest",
    "plugin.pin",
    "plugin.volume",
    "registry.hosts",
    "registry.dns",
    "registry.address",
    "registry.connect",
    "registry.tls",
    "registry.expiry",
    "registry.api",
    "registry.clock",
    "registry.credentials",
    "registry.image",
    "registry.headroom",
    "registry.referrers",
    "serve.certificate",
    "serve.clients",
    "serve.trust",
    "cluster.api",
    "cluster.definitions",
    "cluster.resource",
    "cluster.replicas",
    "cluster.rights",
    "cluster.rotation",
    "gatekeeper.provider",
    "gatekeeper.webhook",
    "gatekeeper.exemptions",
    "gatekeeper.template",
    "gatekeeper.constraint",
    "gatekeeper.mutation",
    "gatekeeper.cache",
    "timeouts.verification",
    "timeouts.mutation",
    "timeouts.work",
    "cache.redis",
    "export.otlp",
];

/// Where a check stands among all; the last place where it is none of them.
pub(super) fn place(id: &str) -> usize {
    CHECKS.iter().position(|known| *known == id).unwrap_or(CHECKS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_there_once_and_areas_stand_together() {
        let mut seen = Vec::new();
        for id in CHECKS {
            let area = id.split_once('.').unwrap().0;
            assert_eq!(CHECKS.iter().filter(|other| *other == id).count(), 1, "{id}");
            if seen.last() != Some(&area) {
                assert!(!seen.contains(&area), "{area}");
                seen.push(area);
            }
        }
    }

    #[test]
    fn the_document_explains_every_check_and_no_other() {
        let document = include_str!("../../../../docs/DOCTOR.md");
        let headings = document.lines().filter_map(|line| line.strip_prefix("### "));
        let explained: Vec<&str> = headings.map(|line| line.trim_matches('`')).collect();
        assert_eq!(explained, CHECKS);
    }
}
