//! Snapshots of several streams in one text: `quotes=1.7.t1700;trades=1.12-40.t1700`, in the order
//! of their names. Neither `=` nor `;` can be part of a name or a token.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Token, TokenError, located};

/// Longest text that is looked at, bytes.
const MAX_BYTES: usize = 262_144;

/// A token for each of some streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(pub BTreeMap<String, Token>);

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (stream, token)) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { ";" };
            write!(f, "{separator}{stream}={token}")?;
        }
        Ok(())
    }
}

impl FromStr for Tokens {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_BYTES {
            let (what, at) = ("is too long", MAX_BYTES);
            return Err(TokenError { what, at });
        }
        let mut tokens = BTreeMap::new();
        for (at, part) in located(text, ';', 0) {
            let what = "expected `stream=token`, with `;` between them";
            let (stream, token) = part.split_once('=').ok_or(TokenError { what, at })?;
            let begins = at + stream.len() + 1;
            let token = token.parse().map_err(|error: TokenError| TokenError {
                at: begins + error.at,
                ..error
            })?;
            if tokens.insert(stream.to_owned(), token).is_some() {
                let what = "a stream is named twice";
                return Err(TokenError { what, at });
            }
        }
        Ok(Self(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        for text in ["trades=1.5-7.t9", "quotes=1.3;trades=1.5-7.t9.c4.k7-1"] {
            assert_eq!(text.parse::<Tokens>().unwrap().to_string(), text);
        }
        let other = "trades=1.5;quotes=1.3".parse::<Tokens>().unwrap();
        assert_eq!(other.to_string(), "quotes=1.3;trades=1.5");
    }

    #[test]
    fn what_cannot_be_read_is_placed() {
        for (text, at) in [
            ("", 0),
            ("1.5", 0),
            ("trades=", 7),
            ("trades=1.5;1.7", 11),
            ("trades=1.5;quotes=1.x", 20),
            ("trades=1.5;trades=1.5", 11),
        ] {
            assert_eq!(text.parse::<Tokens>().unwrap_err().at, at, "{text}");
        }
    }
}
