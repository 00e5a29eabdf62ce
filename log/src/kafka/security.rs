//! TLS and logins: what this build can do of it, and which options belong together.
//!
//! librdkafka takes SCRAM's hashes from OpenSSL, so SCRAM needs a build with it just as TLS does.
//! PLAIN needs nothing, but sends the password as it is: beyond a test it wants `SASL_SSL`.

use std::collections::BTreeMap;

/// Whether this build has OpenSSL.
const HAS_TLS: bool = cfg!(feature = "kafka-tls-system");

/// What to do for a build that has it.
const BUILD_WITH_TLS: &str = "build with the cargo feature `kafka-tls` (OpenSSL from source) or \
                              `kafka-tls-system` (this machine's OpenSSL)";

/// Mechanisms that need a user and a password.
const BY_PASSWORD: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// Options that say who logs in, and how.
const LOGIN: [&str; 3] = ["sasl.mechanism", "sasl.mechanisms", "sasl.username"];

/// Must come before the first client is made. Threads of clients may outlive `main`, and left to
/// itself OpenSSL then frees what they still use: one exit of a gateway in 25 crashed.
pub(super) fn prepare() {
    #[cfg(feature = "kafka-tls-system")]
    openssl_sys::init();
}

/// What is wrong with the options for security: the option, and why.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<(), (String, String)> {
    check_with(options, HAS_TLS)
}

fn check_with(options: &BTreeMap<String, String>, has_tls: bool) -> Result<(), (String, String)> {
    let refused = |name: &str, reason: String| Err((name.to_owned(), reason));
    let value = |name: &str| options.get(name).map(|value| value.to_ascii_uppercase());
    let protocol = value("security.protocol").unwrap_or_else(|| "PLAINTEXT".into());
    if !has_tls && protocol.ends_with("SSL") {
        let reason = format!("this build speaks no TLS: {BUILD_WITH_TLS}");
        return refused("security.protocol", reason);
    }
    if let Some(name) = options.keys().find(|name| name.starts_with("ssl."))
        && !has_tls
    {
        return refused(name, format!("this build speaks no TLS: {BUILD_WITH_TLS}"));
    }
    if !protocol.starts_with("SASL") {
        return match LOGIN.iter().find(|name| options.contains_key(**name)) {
            None => Ok(()),
            Some(name) => {
                let reason = "logs nobody in without `security.protocol=SASL_SSL` or, unencrypted, \
                              `SASL_PLAINTEXT`";
                refused(name, reason.into())
            }
        };
    }
    check_login(options, has_tls)
}

fn check_login(options: &BTreeMap<String, String>, has_tls: bool) -> Result<(), (String, String)> {
    let refused = |name: &str, reason: String| Err((name.to_owned(), reason));
    let given = ["sasl.mechanism", "sasl.mechanisms"].map(|name| (name, options.get(name)));
    let (name, mechanism) = match given {
        [(_, Some(_)), (name, Some(_))] => {
            return refused(name, "is another name of `sasl.mechanism`: give one".into());
        }
        [(name, Some(mechanism)), _] | [_, (name, Some(mechanism))] => (name, mechanism.as_str()),
        _ => {
            let reason = format!("is missing: name one of {}", BY_PASSWORD.join(", "));
            return refused("sasl.mechanism", reason);
        }
    };
    let by_password = BY_PASSWORD.contains(&mechanism);
    if !has_tls && mechanism != "PLAIN" {
        let reason = if by_password {
            format!("this build knows only PLAIN: {BUILD_WITH_TLS}")
        } else {
            format!("name one of {}", BY_PASSWORD.join(", "))
        };
        return refused(name, reason);
    }
    let needed = ["sasl.username", "sasl.password"];
    match needed.iter().find(|name| !options.contains_key(**name)) {
        Some(missing) if by_password => {
            refused(missing, format!("is missing, and {mechanism} needs it"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// `name: reason`, or nothing.
    fn told(has_tls: bool, pairs: &[(&str, &str)]) -> String {
        match check_with(&options(pairs), has_tls) {
            Ok(()) => String::new(),
            Err((name, reason)) => format!("{name}: {reason}"),
        }
    }

    const PLAINTEXT: (&str, &str) = ("security.protocol", "sasl_plaintext");
    const LOGIN: [(&str, &str); 2] = [("sasl.username", "u"), ("sasl.password", "p")];

    #[test]
    fn plain_needs_no_openssl_and_everything_else_does() {
        let with = |has_tls, protocol, mechanism| {
            let mechanism = ("sasl.mechanism", mechanism);
            told(
                has_tls,
                &[&[("security.protocol", protocol), mechanism], &LOGIN[..]].concat(),
            )
        };
        assert_eq!(with(false, "SASL_PLAINTEXT", "PLAIN"), "");
        for (protocol, mechanism, option) in [
            ("SASL_PLAINTEXT", "SCRAM-SHA-256", "sasl.mechanism"),
            ("SASL_PLAINTEXT", "SCRAM-SHA-512", "sasl.mechanism"),
            ("SASL_SSL", "PLAIN", "security.protocol"),
            ("SASL_SSL", "SCRAM-SHA-512", "security.protocol"),
        ] {
            let told = with(false, protocol, mechanism);
            assert!(told.starts_with(option), "{told}");
            assert!(told.contains("`kafka-tls`"), "{told}");
            assert_eq!(with(true, protocol, mechanism), "");
        }
        assert!(told(false, &[("ssl.ca.location", "x")]).starts_with("ssl.ca.location"));
        assert_eq!(told(true, &[("ssl.ca.location", "x")]), "");
        assert!(told(false, &[("security.protocol", "ssl")]).contains("`kafka-tls-system`"));
    }

    #[test]
    fn what_is_missing_of_a_login_is_named() {
        assert!(told(false, &[PLAINTEXT]).starts_with("sasl.mechanism: is missing"));
        let plain = [PLAINTEXT, ("sasl.mechanism", "PLAIN")];
        assert!(told(false, &plain).starts_with("sasl.username: is missing"));
        let user = [&plain[..], &LOGIN[..1]].concat();
        assert!(told(false, &user).starts_with("sasl.password: is missing"));
        let twice = [&plain[..], &LOGIN, &[("sasl.mechanisms", "PLAIN")]].concat();
        assert!(told(false, &twice).starts_with("sasl.mechanisms: is another name"));
    }

    #[test]
    fn a_login_without_its_protocol_is_refused() {
        for name in super::LOGIN {
            let told = told(true, &[(name, "x")]);
            assert!(told.starts_with(name), "{told}");
            assert!(told.contains("`security.protocol=SASL_SSL`"), "{told}");
        }
    }
}
