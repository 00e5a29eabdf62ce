//! One line of InfluxDB line protocol to names and tokens.
//!
//! `measurement[,tag=value]* field=value[,field=value]* [timestamp]`. Numbers keep their text:
//! the parsers to be had turn floats into doubles, which would falsify prices.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::parse::column::{Token, snippet};
use crate::parse::rows::Fault;

/// Most tags and fields of one line.
const MAX_ENTRIES: usize = tourbillon_core::schema::MAX_COLUMNS;

/// Cuts a body into lines. A line break inside a quoted field value does not end its line.
pub(super) fn line_end(body: &[u8], start: usize) -> usize {
    let newline = |from| memchr(b'\n', &body[from..]).map_or(body.len(), |length| from + length);
    let end = newline(start);
    if memchr2(b'"', b'\\', &body[start..end]).is_none() {
        return end;
    }
    let (mut fields, mut quoted, mut value) = (false, false, false);
    let mut at = start;
    while at < body.len() {
        match body[at] {
            b'\\' => at += 1,
            b'"' if value => quoted = !quoted,
            _ if quoted => {}
            b'\n' => return at,
            b' ' => fields = true,
            b'=' if fields => value = true,
            b',' => value = false,
            _ => {}
        }
        at += 1;
    }
    body.len()
}

/// A value with what its spelling says about its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Tag(Cow<'a, [u8]>),
    Float(&'a [u8]),
    Integer(&'a [u8]),
    Unsigned(&'a [u8]),
    Bool(bool),
    String(Cow<'a, [u8]>),
    /// Nanoseconds: QuestDB's `t` (microseconds) and `n` suffixes.
    Time(i64),
}

impl Value<'_> {
    pub(super) fn token(&self) -> Token<'_> {
        match self {
            Self::Tag(text) | Self::String(text) => Token::Text(text),
            Self::Float(text) => Token::Float(text),
            Self::Integer(text) | Self::Unsigned(text) => Token::Number(text),
            Self::Bool(value) => Token::Bool(*value),
            Self::Time(ns) => Token::Time(*ns),
        }
    }
}

/// Tags, then fields.
pub(super) type Entries<'a> = Vec<(Cow<'a, [u8]>, Value<'a>)>;

/// What a line has beside its entries.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) measurement: Cow<'a, [u8]>,
    pub(super) timestamp: Option<&'a [u8]>,
}

/// Reads one line without its break, filling `entries`.
pub(super) fn read_line<'a>(line: &'a [u8], entries: &mut Entries<'a>) -> Result<Line<'a>, Fault> {
    entries.clear();
    let mut lexer = Lexer { line, at: 0 };
    let measurement = lexer.name(b", ", b", \\", "the measurement")?;
    while lexer.eat(b',') {
        let key = lexer.key("a tag")?;
        let value = lexer.name(b", ", NAME_ESCAPES, "the value of a tag")?;
        push(entries, key, Value::Tag(value))?;
    }
    if !lexer.spaces() {
        return Err(Fault::row("has no fields"));
    }
    loop {
        let key = lexer.key("a field")?;
        let value = lexer.value(&key)?;
        push(entries, key, value)?;
        if !lexer.eat(b',') {
            break;
        }
    }
    let spaced = lexer.spaces();
    let mut timestamp = None;
    if spaced && lexer.peek().is_some() {
        timestamp = Some(lexer.plain());
        lexer.spaces();
    }
    if lexer.peek().is_some() {
        let rest = snippet(&line[lexer.at..]);
        return Err(Fault::row(format!(
            "ends in `{rest}`, which is not expected"
        )));
    }
    Ok(Line {
        measurement,
        timestamp,
    })
}

fn push<'a>(entries: &mut Entries<'a>, key: Cow<'a, [u8]>, value: Value<'a>) -> Result<(), Fault> {
    if entries.len() == MAX_ENTRIES {
        return Err(Fault::row(format!(
            "has more than {MAX_ENTRIES} tags and fields"
        )));
    }
    entries.push((key, value));
    Ok(())
}

/// What a backslash can stand before in keys and tag values; before others it is itself.
const NAME_ESCAPES: &[u8] = b",= \\";

struct Lexer<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn spaces(&mut self) -> bool {
        let start = self.at;
        while self.eat(b' ') {}
        self.at > start
    }

    fn key(&mut self, what: &str) -> Result<Cow<'a, [u8]>, Fault> {
        let key = self.name(b",= ", NAME_ESCAPES, what)?;
        if self.eat(b'=') {
            Ok(key)
        } else {
            Err(Fault::row(format!(
                "{what} `{}` has no value",
                snippet(&key)
            )))
        }
    }

    /// Text up to one of `ends`, which a backslash takes the meaning from.
    fn name(&mut self, ends: &[u8], escapes: &[u8], what: &str) -> Result<Cow<'a, [u8]>, Fault> {
        let start = self.at;
        let mut plain_from = start;
        let mut text = Cow::Borrowed(&self.line[..0]);
        let mut escaped = false;
        while let Some(byte) = self.peek() {
            if ends.contains(&byte) || matches!(byte, b'\t' | b'\n' | b'\0') {
                break;
            }
            self.at += 1;
            if byte == b'\\' {
                let next = self.peek();
                if next.is_some_and(|next| escapes.contains(&next)) {
                    escaped = true;
                    text.to_mut()
                        .extend_from_slice(&self.line[plain_from..self.at - 1]);
                    plain_from = self.at;
                }
                self.at += usize::from(next.is_some());
            }
        }
        if self.at == start {
            return Err(Fault::row(format!(
                "{what} is missing at byte {start} of the line"
            )));
        }
        if escaped {
            text.to_mut()
                .extend_from_slice(&self.line[plain_from..self.at]);
        } else {
            text = Cow::Borrowed(&self.line[start..self.at]);
        }
        if text.ends_with(b"\\") {
            return Err(Fault::row(format!("{what} ends in a backslash")));
        }
        Ok(text)
    }

    /// Text up to a comma or space.
    fn plain(&mut self) -> &'a [u8] {
        let rest = &self.line[self.at..];
        let length = memchr2(b',', b' ', rest).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn value(&mut self, key: &[u8]) -> Result<Value<'a>, Fault> {
        let fault = |reason: String| Fault {
            column: Some(snippet(key)),
            reason,
        };
        if self.eat(b'"') {
            let text = self.string();
            return text.ok_or_else(|| fault("has a string that does not end".to_owned()));
        }
        let text = self.plain();
        classify(text).ok_or_else(|| {
            let text = snippet(text);
            fault(format!(
                "is `{text}`, which is not a number, string or boolean"
            ))
        })
    }

    /// The rest of a string after its opening quote, if it closes.
    fn string(&mut self) -> Option<Value<'a>> {
        let mut plain_from = self.at;
        let mut text = Cow::Borrowed(&self.line[..0]);
        loop {
            self.at += memchr2(b'"', b'\\', &self.line[self.at..])?;
            let part = &self.line[plain_from..self.at];
            if self.eat(b'"') {
                if text.is_empty() {
                    return Some(Value::String(Cow::Borrowed(part)));
                }
                text.to_mut().extend_from_slice(part);
                return Some(Value::String(text));
            }
            self.at += 1;
            if let Some(b'"' | b'\\') = self.peek() {
                text.to_mut().extend_from_slice(part);
                plain_from = self.at;
                self.at += 1;
            }
        }
    }
}

fn classify(text: &[u8]) -> Option<Value<'_>> {
    let (&last, head) = text.split_last()?;
    match text {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => return Some(Value::Bool(true)),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    match last {
        b'i' => is_integer(head).then_some(Value::Integer(head)),
        b'u' => is_digits(head).then_some(Value::Unsigned(head)),
        b't' => scaled(head, 1_000).map(Value::Time),
        b'n' => scaled(head, 1).map(Value::Time),
        _ => is_float(text).then_some(Value::Float(text)),
    }
}

fn scaled(text: &[u8], factor: i64) -> Option<i64> {
    let integer = is_integer(text).then_some(text)?;
    crate::parse::text::parse_i64(integer)?.checked_mul(factor)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

pub(super) fn is_integer(text: &[u8]) -> bool {
    is_digits(text.strip_prefix(b"-").unwrap_or(text))
}

/// `-?digits[.digits][(e|E)[+-]digits]`
fn is_float(text: &[u8]) -> bool {
    let (number, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let whole_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-"));
        is_digits(digits.unwrap_or(exponent))
    });
    whole_exponent
        && match memchr(b'.', number) {
            Some(point) => is_integer(&number[..point]) && is_digits(&number[point + 1..]),
            None => is_integer(number),
        }
}
