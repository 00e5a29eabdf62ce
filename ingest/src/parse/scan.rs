//! A scanner of flat JSON objects that hands out values as they stand in the text.
//!
//! Numbers keep their digits, strings without escapes are borrowed, and nothing is allocated on
//! the way. The body must be UTF-8.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::column::Token;
use super::rows::Fault;

/// Why an object could not be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// A value that does not fit; the text may be well-formed.
    Fault(Fault),
    /// The text is not JSON.
    Syntax { offset: usize, reason: &'static str },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A place in a body.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    body: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    /// Scans `body` from `at` on.
    pub(super) fn new(body: &'a [u8], at: usize) -> Self {
        Self { body, at }
    }

    /// The next byte, if any.
    pub(super) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Passes over white space.
    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes over `byte`, which must be next.
    pub(super) fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Failure> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.syntax(reason))
        }
    }

    pub(super) fn syntax(&self, reason: &'static str) -> Failure {
        let offset = self.at;
        Failure::Syntax { offset, reason }
    }

    /// Reads one object, handing each member to `field` with its place in the object.
    pub(super) fn object(
        &mut self,
        mut field: impl FnMut(usize, &[u8], Token<'_>) -> Result<(), Fault>,
    ) -> Result<(), Failure> {
        self.space();
        self.expect(b'{', "expected an object")?;
        self.space();
        if self.eat(b'}') {
            return Ok(());
        }
        for position in 0.. {
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(b':', "expected `:` after the name of a member")?;
            self.space();
            self.value(|token| field(position, &name, token))?;
            self.space();
            if self.eat(b'}') {
                break;
            }
            self.expect(b',', "expected `,` or `}` after a member")?;
        }
        Ok(())
    }

    /// Passes over one value of any shape.
    pub(super) fn skip_value(&mut self) -> Result<(), Failure> {
        let rest = serde_json::Deserializer::from_slice(&self.body[self.at..]);
        let mut values = rest.into_iter::<IgnoredAny>();
        let ok = matches!(values.next(), Some(Ok(_)));
        self.at += values.byte_offset();
        if ok {
            Ok(())
        } else {
            Err(self.syntax("expected a JSON value"))
        }
    }

    fn value(&mut self, put: impl FnOnce(Token<'_>) -> Result<(), Fault>) -> Result<(), Failure> {
        match self.peek() {
            Some(b'"') => put(Token::Text(&self.string()?))?,
            Some(b'-' | b'0'..=b'9') => put(Token::Number(self.number()?))?,
            Some(b't') => put(self.literal("true", Token::Bool(true))?)?,
            Some(b'f') => put(self.literal("false", Token::Bool(false))?)?,
            Some(b'n') => put(self.literal("null", Token::Null)?)?,
            Some(b'{' | b'[') => {
                self.skip_value()?;
                put(Token::Nested)?;
            }
            _ => return Err(self.syntax("expected a value")),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str, token: Token<'static>) -> Result<Token<'static>, Failure> {
        if self.body[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(token)
        } else {
            Err(self.syntax("expected a value"))
        }
    }

    /// `-?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?`
    fn number(&mut self) -> Result<&'a [u8], Failure> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.body[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Failure> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.syntax("expected a digit"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, [u8]>, Failure> {
        let start = self.at;
        self.expect(b'"', "expected a string")?;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(0x20..) => self.at += 1,
                Some(_) => return Err(self.syntax("control character in a string")),
                None => {
                    self.at = self.body.len();
                    return Err(self.syntax("the string does not end"));
                }
            }
        }
        self.at += 1;
        if !escaped {
            return Ok(Cow::Borrowed(&self.body[start + 1..self.at - 1]));
        }
        match serde_json::from_slice::<String>(&self.body[start..self.at]) {
            Ok(text) => Ok(Cow::Owned(text.into_bytes())),
            Err(_) => Err(Failure::Syntax {
                offset: start,
                reason: "a bad escape in a string",
            }),
        }
    }
}
