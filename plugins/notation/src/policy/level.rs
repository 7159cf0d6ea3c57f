//! [`Level`]: which checks a failure of which is fatal.

use std::fmt;

use crate::go::{quoted, quoted_list};

/// What is checked of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Integrity,
    Authenticity,
    AuthenticTimestamp,
    Expiry,
    Revocation,
}

/// What follows where a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The signature does not count.
    Enforce,
    /// The log says so.
    Log,
    /// Nothing is checked.
    Skip,
}

/// An action for each check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Level {
    actions: [Action; 5],
}

impl Level {
    const NAMED: [(&str, [Action; 5]); 4] = {
        use Action::{Enforce, Log, Skip};
        [
            ("strict", [Enforce; 5]),
            ("permissive", [Enforce, Enforce, Log, Log, Log]),
            ("audit", [Enforce, Log, Log, Log, Log]),
            ("skip", [Skip; 5]),
        ]
    };

    /// A level by name, with what a policy says otherwise of single checks.
    ///
    /// # Errors
    /// notation-go's text, for a name that is none and for what may not be said otherwise.
    pub(super) fn new(name: &str, overrides: &[(String, String)]) -> Result<Self, String> {
        if name.is_empty() {
            return Err(
                "signature verification level is empty or missing in the trust policy statement"
                    .to_owned(),
            );
        }
        let found = Self::NAMED.into_iter().find(|(named, _)| *named == name);
        let (_, actions) = found
            .ok_or_else(|| format!("invalid signature verification level {}", quoted(name)))?;
        let mut level = Self { actions };
        if level.is_skip() && !overrides.is_empty() {
            return Err(format!(
                "signature verification level {} can't be used to customize signature verification",
                quoted(name)
            ));
        }
        for (check, action) in overrides {
            level.set(check, action)?;
        }
        Ok(level)
    }

    fn set(&mut self, name: &str, action_name: &str) -> Result<(), String> {
        let check = Check::ALL.into_iter().find(|check| check.name() == name).ok_or_else(|| {
            format!(
                "verification type {} in custom signature verification is not supported, supported values are {}",
                quoted(name),
                quoted_list(Check::ALL.map(Check::name))
            )
        })?;
        let actions = [("enforce", Action::Enforce), ("log", Action::Log), ("skip", Action::Skip)];
        let found = actions.into_iter().find(|(named, _)| *named == action_name);
        let (_, action) = found.ok_or_else(|| {
            format!(
                "verification action {} in custom signature verification is not supported, supported values are {}",
                quoted(action_name),
                quoted_list(actions.map(|(named, _)| named))
            )
        })?;
        let forbidden = match (check, action) {
            (Check::Integrity, _) => Some("overridden"),
            (Check::Revocation, _) | (_, Action::Enforce | Action::Log) => None,
            (_, Action::Skip) => Some("skipped"),
        };
        if let Some(forbidden) = forbidden {
            return Err(format!(
                "{} verification can not be {forbidden} in custom signature verification",
                quoted(name)
            ));
        }
        self.actions[check as usize] = action;
        Ok(())
    }

    /// What follows where this check fails.
    pub(crate) fn action(&self, check: Check) -> Action {
        self.actions[check as usize]
    }

    /// Whether nothing at all is checked.
    pub(crate) fn is_skip(&self) -> bool {
        self.action(Check::Integrity) == Action::Skip
    }
}

impl Check {
    const ALL: [Self; 5] = [
        Self::Integrity,
        Self::Authenticity,
        Self::AuthenticTimestamp,
        Self::Expiry,
        Self::Revocation,
    ];

    /// The name in a policy and in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Authenticity => "authenticity",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Expiry => "expiry",
            Self::Revocation => "revocation",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
