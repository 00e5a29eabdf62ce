//! Newtypes for the numbers and names that must not be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// One incarnation of a gateway: the offset of its JOIN record in the control topic.
    WriterId(u32)
);
number!(
    /// A partition of a stream, counted from 0.
    PartitionId(u32)
);
number!(
    /// Position of a record in one log partition.
    Offset(u64)
);

impl Offset {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Longest stream, column, gateway or source name in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} name `{name}` {reason}")]
pub struct NameError {
    /// Which kind of name.
    pub what: &'static str,
    /// The name as given, shortened.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Name of a stream: 1 to 128 of `A-Z a-z 0-9 _ - .`, the first a letter or digit, so that it can
/// be a topic, a path segment and a table name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(String);

impl StreamName {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        check_plain_name("stream", &name)?;
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a name that also serves as a path segment.
pub fn check_plain_name(what: &'static str, name: &str) -> Result<(), NameError> {
    let refuse = |reason| {
        let shown = name.chars().take(40).collect();
        Err(NameError {
            what,
            name: shown,
            reason,
        })
    };
    if name.is_empty() {
        return refuse("is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return refuse("is longer than 128 bytes");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("must start with a letter or digit");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    {
        return refuse("may only hold letters, digits, `_`, `-` and `.`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_topic_safe_names_only() {
        for good in ["trades", "Q1.quotes_l2-raw", "0"] {
            assert!(StreamName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "_control",
            ".hidden",
            "a/b",
            "a b",
            "ü",
            &"x".repeat(129),
        ] {
            assert!(StreamName::new(bad).is_err(), "{bad}");
        }
    }
}
