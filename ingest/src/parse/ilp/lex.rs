//! One line of InfluxDB line protocol to names and tokens.
//!
//! `measurement[,tag=value]* field=value[,field=value]* [timestamp]`. Numbers keep their text:
//! the parsers to be had turn floats into doubles, which would falsify prices.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3};

use crate::parse::column::{Token, snippet};
use crate::parse::rows::Fault;

/// Most tags and fields of one line.
const MAX_ENTRIES: usize = tourbillon_core::schema::MAX_COLUMNS;

/// End of the line that begins at `start`. A line break inside a string does not end it; a
/// string begins right after the `=` of a field.
pub(super) fn line_end(body: &[u8], start: usize) -> usize {
    let (mut from, mut in_fields) = (start, false);
    while let Some(length) = memchr3(b'\n', b'"', b'\\', &body[from..]) {
        let at = from + length;
        match body[at] {
            b'\n' => return at,
            b'"' => {
                in_fields = in_fields || memchr(b' ', &body[from..at]).is_some();
                let opens = in_fields && body[from..at].ends_with(b"=");
                from = if opens {
                    string_end(body, at + 1)
                } else {
                    at + 1
                };
            }
            _ => {
                in_fields = in_fields || memchr(b' ', &body[from..at]).is_some();
                from = (at + 2).min(body.len());
            }
        }
    }
    body.len()
}

/// Place behind the closing quote of a string whose content begins at `from`.
fn string_end(body: &[u8], mut from: usize) -> usize {
    while let Some(length) = memchr2(b'"', b'\\', &body[from..]) {
        from += length + 1;
        if body[from - 1] == b'"' {
            return from;
        }
        from = (from + 1).min(body.len());
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
    let measurement = lexer.name(Part::Measurement, "the measurement")?;
    while lexer.eat(b',') {
        let key = lexer.key("a tag")?;
        let value = lexer.name(Part::TagValue, "the value of a tag")?;
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
        timestamp = Some(lexer.run(Part::Plain));
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

/// A part of a line that ends at certain bytes.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Measurement = 1,
    Key = 2,
    TagValue = 4,
    /// A value without quotes, or the timestamp: no escapes.
    Plain = 8,
}

/// For each byte, the parts that may not run over it.
const STOPS: [u8; 256] = {
    use Part::{Key, Measurement, Plain, TagValue};
    let names = Measurement as u8 | Key as u8 | TagValue as u8;
    let mut stops = [0; 256];
    stops[b'\\' as usize] = names;
    stops[b'\t' as usize] = names;
    stops[b'\n' as usize] = names;
    stops[0] = names;
    stops[b' ' as usize] = names | Plain as u8;
    stops[b',' as usize] = names | Plain as u8;
    stops[b'=' as usize] = Key as u8;
    stops
};

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
        let key = self.name(Part::Key, what)?;
        if self.eat(b'=') {
            Ok(key)
        } else {
            Err(Fault::row(format!(
                "{what} `{}` has no value",
                snippet(&key)
            )))
        }
    }

    fn name(&mut self, part: Part, what: &str) -> Result<Cow<'a, [u8]>, Fault> {
        let start = self.at;
        let mut name = Cow::Borrowed(self.run(part));
        if self.peek() == Some(b'\\') {
            self.escapes(part, name.to_mut());
        }
        if self.at == start {
            let reason = format!("{what} is missing at byte {start} of the line");
            return Err(Fault::row(reason));
        }
        if name.ends_with(b"\\") {
            return Err(Fault::row(format!("{what} ends in a backslash")));
        }
        Ok(name)
    }

    /// The rest of a name from its first backslash on. A backslash takes the meaning from what
    /// follows it; before anything that has none it stands for itself.
    fn escapes(&mut self, part: Part, name: &mut Vec<u8>) {
        while self.eat(b'\\') {
            let next = self.peek();
            let meant = match next {
                Some(b',' | b' ' | b'\\') => true,
                Some(b'=') => part != Part::Measurement,
                _ => false,
            };
            if !meant {
                name.push(b'\\');
            }
            name.extend(next);
            self.at += usize::from(next.is_some());
            name.extend_from_slice(self.run(part));
        }
    }

    /// The bytes before the next that `part` may not run over.
    fn run(&mut self, part: Part) -> &'a [u8] {
        let rest = &self.line[self.at..];
        let stops = |&byte: &u8| STOPS[usize::from(byte)] & part as u8 != 0;
        let length = rest.iter().position(stops).unwrap_or(rest.len());
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
        let text = self.run(Part::Plain);
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
