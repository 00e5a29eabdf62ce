//! Which options are secret, and how their values are kept out of texts.

use std::collections::BTreeMap;

/// Parts of option names whose values are never shown.
const SECRET_NAME_PARTS: [&str; 9] = [
    "password",
    "passphrase",
    "secret",
    "key",
    "jaas",
    "token",
    "credential",
    "oauthbearer",
    "pem",
];

/// Ends of option names that say where a secret lies, which is none.
const PLACES: [&str; 2] = [".location", ".file"];

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// Whether the value of an option for librdkafka must be shown to nobody.
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_place = PLACES.iter().any(|end| name.ends_with(end));
    !is_place && SECRET_NAME_PARTS.iter().any(|part| name.contains(part))
}

/// Options as they may be shown.
pub(super) fn shown(options: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let mut shown = BTreeMap::new();
    for (name, value) in options {
        let hidden = is_secret_option(name);
        shown.insert(name.as_str(), if hidden { HIDDEN } else { value });
    }
    shown
}

/// Removes the values of secret options from a text. The longest go first: one may hold another.
pub(super) fn redact(options: &BTreeMap<String, String>, text: &str) -> String {
    let options = options.iter();
    let secrets = options.filter(|(name, value)| is_secret_option(name) && !value.is_empty());
    let mut secrets: Vec<&String> = secrets.map(|(_, value)| value).collect();
    secrets.sort_by_key(|value| std::cmp::Reverse(value.len()));
    secrets.into_iter().fold(text.to_owned(), |text, value| {
        text.replace(value.as_str(), HIDDEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_name_and_places_are_none() {
        for secret in [
            "sasl.password",
            "ssl.key.pem",
            "SSL.KEY.PASSWORD",
            "my.jaas.config",
        ] {
            assert!(is_secret_option(secret), "{secret}");
        }
        for open in [
            "ssl.key.location",
            "ssl.ca.location",
            "sasl.username",
            "linger.ms",
        ] {
            assert!(!is_secret_option(open), "{open}");
        }
    }

    #[test]
    fn a_secret_within_another_leaves_no_rest() {
        let options = [("a.password", "abc"), ("b.password", "abcdef")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(redact(&options.into(), "x abcdef abc y"), "x *** *** y");
    }
}
