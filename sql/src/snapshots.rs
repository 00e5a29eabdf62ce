//! Snapshots of several streams in one text: `quotes=1.7-9.t..;trades=1.12-40.t..`.

use std::collections::BTreeMap;
use std::fmt;

use tourbillon_query::token::Token;

use crate::error::SqlError;

/// Longest text that is looked at, bytes.
const MAX_BYTES: usize = 256 << 10;

/// Which rows of which stream a statement is computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// Tokens by stream.
    named: BTreeMap<String, Token>,
    /// A token without a stream: that of the only one a statement names.
    bare: Option<Token>,
}

impl Snapshots {
    /// Reads `stream=token;..`, or one bare token.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let wrong = |reason: String| SqlError::Request {
            name: "snapshot",
            reason,
        };
        if text.len() > MAX_BYTES {
            return Err(wrong(format!("is longer than {MAX_BYTES} bytes")));
        }
        if !text.contains('=') {
            let token = text.parse().map_err(|error| wrong(format!("{error}")))?;
            return Ok(Self {
                bare: Some(token),
                ..Self::default()
            });
        }
        let mut named = BTreeMap::new();
        for part in text.split(';') {
            let Some((stream, token)) = part.split_once('=') else {
                let shown: String = part.chars().take(40).collect();
                return Err(wrong(format!(
                    "`{shown}` lacks its stream: write stream=token;.."
                )));
            };
            let shown: String = stream.chars().take(128).collect();
            let token = token.parse();
            let token = token.map_err(|error| wrong(format!("of `{shown}`: {error}")))?;
            if named.insert(stream.to_owned(), token).is_some() {
                return Err(wrong(format!("names `{shown}` twice")));
            }
        }
        Ok(Self { named, bare: None })
    }

    /// Whether it names no rows.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.bare.is_none()
    }

    /// The tokens that stand with their streams.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Token)> {
        self.named.iter()
    }

    /// The tokens for the streams that a statement names: none if there is no snapshot at all. Tokens
    /// of other streams are let be, so that one text serves several statements.
    pub(crate) fn of(&self, streams: &[String]) -> Result<Vec<Option<Token>>, SqlError> {
        let wrong = |reason| SqlError::Request {
            name: "snapshot",
            reason,
        };
        match (&self.bare, streams) {
            (Some(token), [_]) => return Ok(vec![Some(token.clone())]),
            (Some(_), []) => return Ok(Vec::new()),
            (Some(_), _) => {
                let reason = "a token alone serves one stream, and the statement names several: \
                              write stream=token;..";
                return Err(wrong(reason.to_owned()));
            }
            (None, _) if self.named.is_empty() => return Ok(vec![None; streams.len()]),
            (None, _) => {}
        }
        let token = |stream: &String| match self.named.get(stream) {
            Some(token) => Ok(Some(token.clone())),
            None => Err(wrong(format!("has no token for stream `{stream}`"))),
        };
        streams.iter().map(token).collect()
    }
}

impl FromIterator<(String, Token)> for Snapshots {
    fn from_iter<T: IntoIterator<Item = (String, Token)>>(tokens: T) -> Self {
        Self {
            named: tokens.into_iter().collect(),
            bare: None,
        }
    }
}

impl fmt::Display for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(token) = &self.bare {
            return write!(f, "{token}");
        }
        for (place, (stream, token)) in self.named.iter().enumerate() {
            let separator = if place == 0 { "" } else { ";" };
            write!(f, "{separator}{stream}={token}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_come_back_as_they_went() {
        for text in ["1.5-7.t9", "quotes=1.3;trades=1.5-7.t9.c4"] {
            assert_eq!(Snapshots::parse(text).unwrap().to_string(), text);
        }
        let both = Snapshots::parse("trades=1.5;quotes=1.3").unwrap();
        let names = ["quotes", "trades"].map(str::to_owned);
        let tokens = both.of(&names).unwrap();
        let offset = |token: &Option<Token>| token.as_ref().unwrap().offsets[0].0;
        assert_eq!((offset(&tokens[0]), offset(&tokens[1])), (3, 5));
        assert_eq!(both.of(&names[..1]).unwrap().len(), 1);
        assert!(both.of(&["other".to_owned()]).is_err());
        assert!(Snapshots::parse("1.5").unwrap().of(&names).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (text, told) in [
            ("", "1."),
            ("trades=", "trades"),
            ("trades=1.5;1.7", "1.7"),
            ("trades=1.5;trades=1.5", "twice"),
        ] {
            let error = Snapshots::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(told) && error.contains("snapshot"),
                "{error}"
            );
        }
    }
}
