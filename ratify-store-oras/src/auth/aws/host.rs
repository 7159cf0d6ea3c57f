//! [`EcrHost`]: whether a host is a registry of ECR, and where its region's services are. Nothing
//! else is given a password of ECR's. Pure.

use crate::auth::RegistryHost;

/// A part of AWS with accounts and domains of its own; regions begin with what it is told by.
struct Partition {
    regions: &'static [&'static str],
    domain: &'static str,
    /// The domains of registries and of services that answer over IPv6, too.
    dual_stack: Option<(&'static str, &'static str)>,
}

/// The last one is for all other regions.
const PARTITIONS: [Partition; 7] = [
    Partition {
        regions: &["cn-"],
        domain: "amazonaws.com.cn",
        dual_stack: Some(("on.amazonwebservices.com.cn", "api.amazonwebservices.com.cn")),
    },
    Partition { regions: &["us-iso-"], domain: "c2s.ic.gov", dual_stack: None },
    Partition { regions: &["us-isob-"], domain: "sc2s.sgov.gov", dual_stack: None },
    Partition { regions: &["eu-isoe-"], domain: "cloud.adc-e.uk", dual_stack: None },
    Partition { regions: &["us-isof-", "eu-isof-"], domain: "csp.hci.ic.gov", dual_stack: None },
    Partition { regions: &["eusc-"], domain: "amazonaws.eu", dual_stack: None },
    Partition { regions: &[""], domain: "amazonaws.com", dual_stack: Some(("on.aws", "api.aws")) },
];

/// A registry of ECR: an account's, in a region.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EcrHost {
    pub(super) region: String,
    /// Where the service of that region is.
    pub(super) endpoint: String,
}

impl EcrHost {
    /// Reads `<account>.dkr.ecr[-fips].<region>.<domain>`, or with `dkr-ecr[-fips]` the form that
    /// answers over IPv6, too. The domain must be the one of the region's part of AWS, and the port
    /// HTTPS's own.
    pub(super) fn parse(host: &RegistryHost) -> Option<Self> {
        let labels = host.labels();
        let (account, rest) = labels.split_first()?;
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if host.port().is_some() || !is_account {
            return None;
        }
        let (is_dual_stack, is_fips, rest) = match rest {
            ["dkr", "ecr", rest @ ..] => (false, false, rest),
            ["dkr", "ecr-fips", rest @ ..] => (false, true, rest),
            ["dkr-ecr", rest @ ..] => (true, false, rest),
            ["dkr-ecr-fips", rest @ ..] => (true, true, rest),
            _ => return None,
        };
        let (region, domain) = rest.split_first()?;
        let (partition, domain) = (partition(region)?, domain.join("."));
        let service = if is_fips { "ecr-fips" } else { "ecr" };
        let endpoint = match partition.dual_stack {
            Some((registries, services)) if is_dual_stack && registries == domain => {
                format!("https://{service}.{region}.{services}/")
            }
            _ if is_dual_stack || partition.domain != domain => return None,
            _ if is_fips => format!("https://{service}.{region}.{domain}/"),
            _ => format!("https://api.ecr.{region}.{domain}/"),
        };
        Some(Self { region: (*region).to_owned(), endpoint })
    }
}

/// Where the token service of a region is; `None` where that is no name of a region.
pub(super) fn sts_endpoint(region: &str) -> Option<String> {
    let domain = partition(region)?.domain;
    Some(format!("https://sts.{region}.{domain}/"))
}

/// The partition of a region; `None` where that is no name of one.
fn partition(region: &str) -> Option<&'static Partition> {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_region = (5..=40).contains(&region.len())
        && region.bytes().all(is_inner)
        && region.contains('-')
        && region.starts_with(|c: char| c.is_ascii_lowercase())
        && region.ends_with(|c: char| c.is_ascii_digit());
    let is_told_by =
        |known: &&Partition| known.regions.iter().any(|start| region.starts_with(start));
    is_region.then(|| PARTITIONS.iter().find(is_told_by))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str) -> Option<String> {
        EcrHost::parse(&RegistryHost::parse(host).unwrap()).map(|found| found.endpoint)
    }

    #[test]
    fn registries_of_ecr_are_known_and_so_is_their_service() {
        for (host, expected) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"),
            ("123456789012.DKR.ecr.us-east-1.amazonaws.com:443", "api.ecr.us-east-1.amazonaws.com"),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                "ecr-fips.us-gov-west-1.amazonaws.com",
            ),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                "api.ecr.cn-north-1.amazonaws.com.cn",
            ),
            ("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr.eu-west-1.api.aws"),
            ("123456789012.dkr-ecr-fips.us-east-1.on.aws", "ecr-fips.us-east-1.api.aws"),
            (
                "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
                "ecr.cn-north-1.api.amazonwebservices.com.cn",
            ),
            ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
            (
                "123456789012.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
                "api.ecr.us-isob-east-1.sc2s.sgov.gov",
            ),
            (
                "123456789012.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
                "api.ecr.eu-isoe-west-1.cloud.adc-e.uk",
            ),
            (
                "123456789012.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
                "api.ecr.us-isof-south-1.csp.hci.ic.gov",
            ),
            (
                "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
                "api.ecr.eusc-de-east-1.amazonaws.eu",
            ),
        ] {
            assert_eq!(endpoint(host), Some(format!("https://{expected}/")), "{host}");
        }
    }

    #[test]
    fn a_region_of_another_part_of_aws_is_no_registry() {
        for host in [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "123456789012.dkr.ecr.us-iso-east-1.amazonaws.com",
            "123456789012.dkr-ecr.us-iso-east-1.on.aws",
            "123456789012.dkr.ecr.us-east-1.on.aws",
            "123456789012.dkr-ecr.us-east-1.amazonaws.com",
        ] {
            assert_eq!(endpoint(host), None, "{host}");
        }
    }

    #[test]
    fn the_token_service_is_the_regions() {
        let of = |region| sts_endpoint(region);
        assert_eq!(of("eu-west-1").unwrap(), "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(of("cn-north-1").unwrap(), "https://sts.cn-north-1.amazonaws.com.cn/");
        for region in ["", "a", "us-east-1.evil.example.com/", "us-east-1/x", "-us-1", "US-EAST-1"]
        {
            assert_eq!(of(region), None, "{region}");
        }
    }
}
