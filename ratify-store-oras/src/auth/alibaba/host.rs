//! [`AcrHost`]: what the host of a registry of Alibaba Cloud says: its instance and its region.

use ratify_core::capped_line;

const SUFFIX: &str = ".aliyuncs.com";

/// `[<instance>-]registry[-intl][-vpc][-internal][.distributed].<region>.[cr.]aliyuncs.com`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AcrHost<'a> {
    /// The name of the instance; the personal edition has none.
    pub(super) instance: Option<&'a str>,
    /// The region, which is a label with a dash in it.
    pub(super) region: &'a str,
}

impl<'a> AcrHost<'a> {
    /// Reads a host in lower case. v1's pattern ends nowhere, so that it takes a host that merely
    /// has this form in front; here it is the whole host.
    ///
    /// # Errors
    /// With v1's texts.
    pub(super) fn parse(host: &'a str) -> Result<Self, String> {
        let labels = host.strip_suffix(SUFFIX).ok_or_else(|| {
            let host = capped_line(host, 255);
            format!(
                "Invalid Alibaba Cloud Registry image {host} which does not end with `aliyuncs.com`"
            )
        })?;
        Self::of_labels(labels).ok_or_else(|| "Invalid Alibaba Cloud Registry image format".into())
    }

    fn of_labels(labels: &'a str) -> Option<Self> {
        let labels = labels.strip_suffix(".cr").unwrap_or(labels);
        let (name, region) = labels.rsplit_once('.')?;
        let name = name.strip_suffix(".distributed").unwrap_or(name);
        let is_label = |text: &str| {
            let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
        };
        if !is_label(region) || !region.contains('-') || !is_label(name) {
            return None;
        }
        let mut name = name;
        for network in ["-internal", "-vpc", "-intl"] {
            name = name.strip_suffix(network).unwrap_or(name);
        }
        let instance = name.strip_suffix("registry")?;
        match instance.strip_suffix('-') {
            Some(instance) => Some(Self { instance: Some(instance), region }),
            None if instance.is_empty() => Some(Self { instance: None, region }),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_says_its_instance_and_its_region() {
        for (host, instance, region) in [
            ("dahu-registry-vpc.cn-hangzhou.cr.aliyuncs.com", Some("dahu"), "cn-hangzhou"),
            ("test-registry.cn-hangzhou.cr.aliyuncs.com", Some("test"), "cn-hangzhou"),
            ("registry-vpc.cn-beijing.aliyuncs.com", None, "cn-beijing"),
            ("registry.cn-beijing.aliyuncs.com", None, "cn-beijing"),
            ("registry-intl-vpc-internal.ap-southeast-1.aliyuncs.com", None, "ap-southeast-1"),
            ("a-b-registry.eu-central-1.cr.aliyuncs.com", Some("a-b"), "eu-central-1"),
            ("a-registry.distributed.eu-central-1.cr.aliyuncs.com", Some("a"), "eu-central-1"),
            ("registry-registry.us-west-1.cr.aliyuncs.com", Some("registry"), "us-west-1"),
        ] {
            assert_eq!(AcrHost::parse(host), Ok(AcrHost { instance, region }), "{host}");
        }
    }

    #[test]
    fn another_host_is_refused_with_v1s_texts() {
        for host in ["test.bad", "aliyuncs.com", "registry.cn-a.aliyuncs.com.example.com", ""] {
            assert_eq!(
                AcrHost::parse(host).unwrap_err(),
                format!(
                    "Invalid Alibaba Cloud Registry image {host} which does not end with `aliyuncs.com`"
                )
            );
        }
        for host in [
            "registry-vpc.cr.aliyuncs.com",
            "registry.cn.aliyuncs.com",
            "aregistry.cn-a.aliyuncs.com",
            "-registry.cn-a.aliyuncs.com",
            "registry-x.cn-a.aliyuncs.com",
            "registry.cn-a.cr.cr.aliyuncs.com",
            "registry.cn-a.aliyuncs.com.aliyuncs.com",
            "registry.cn-a.example.com.aliyuncs.com",
            "registry.cn-a@evil.aliyuncs.com",
            "registry.cn-.aliyuncs.com",
            ".aliyuncs.com",
        ] {
            assert_eq!(
                AcrHost::parse(host).unwrap_err(),
                "Invalid Alibaba Cloud Registry image format",
                "{host}"
            );
        }
    }
}
