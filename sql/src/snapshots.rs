//! Snapshots of several streams in one text: `quotes=1.7-9.t..;trades=1.12-40.t..`.

use std::fmt;

use tourbillon_query::token::Token;
use tourbillon_query::token::many::Tokens;

use crate::error::SqlError;

/// Which rows of which stream a statement is computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshots {
    /// Tokens by stream.
    named: Tokens,
    /// A token without a stream: that of the only one a statement names.
    bare: Option<Token>,
}

impl Snapshots {
    /// Reads `stream=token;..`, or one bare token.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let wrong = |error| SqlError::Request {
            name: "snapshot",
            reason: format!("{error}"),
        };
        let mut snapshots = Self::default();
        match text.contains('=') {
            true => snapshots.named = text.parse().map_err(wrong)?,
            false => snapshots.bare = Some(text.parse().map_err(wrong)?),
        }
        Ok(snapshots)
    }

    /// Whether it names no rows.
    pub fn is_empty(&self) -> bool {
        self.named.0.is_empty() && self.bare.is_none()
    }

    /// The tokens that stand with their streams.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Token)> {
        self.named.0.iter()
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
            (None, _) if self.named.0.is_empty() => return Ok(vec![None; streams.len()]),
            (None, _) => {}
        }
        let token = |stream: &String| match self.named.0.get(stream) {
            Some(token) => Ok(Some(token.clone())),
            None => Err(wrong(format!("has no token for stream `{stream}`"))),
        };
        streams.iter().map(token).collect()
    }
}

impl FromIterator<(String, Token)> for Snapshots {
    fn from_iter<T: IntoIterator<Item = (String, Token)>>(tokens: T) -> Self {
        Self {
            named: Tokens(tokens.into_iter().collect()),
            bare: None,
        }
    }
}

impl fmt::Display for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bare {
            Some(token) => token.fmt(f),
            None => self.named.fmt(f),
        }
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
            ("trades=", "at byte 7"),
            ("trades=1.5;1.7", "at byte 11"),
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
