//! Versions of the wire. v1 knows no order among them: two versions agree when they are the same
//! text.

/// The version that v1's custom resources ask for, and v1's own plugins speak.
pub const CURRENT: &str = "1.0.0";

/// What a plugin speaks unless it says otherwise. A `config.json` that names no version asks for
/// `0.1.0`; on the wire it is no different from `1.0.0`.
pub const DEFAULT: &[&str] = &[CURRENT, "0.1.0"];

/// Whether a plugin that speaks `supported` can be asked in the version `asked`.
pub fn is_supported(supported: &[&str], asked: &str) -> bool {
    supported.contains(&asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_agree_only_as_texts() {
        assert!(is_supported(DEFAULT, "1.0.0") && is_supported(DEFAULT, "0.1.0"));
        for asked in ["", "1.0", "v1.0.0", "1.0.1", " 1.0.0", "2.0.0-alpha.1"] {
            assert!(!is_supported(DEFAULT, asked), "{asked}");
        }
        assert!(is_supported(&["2.0.0-alpha.1"], "2.0.0-alpha.1"));
    }
}
