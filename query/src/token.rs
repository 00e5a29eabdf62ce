//! Snapshot tokens and cursors: which rows an answer was made of, and where it stopped.
//!
//! `1.12-40.t1700000000000000000.f0.c9.k1700000000000000000-3`: the offset below which the rows of
//! each partition lie, in order; then, each optional, `t` how far the stream was complete there,
//! `f` the stamp from which retention had left rows, `c` how many columns the stream had, and in a
//! cursor `k` the key of the last row that was given, before it `e` its event time if the answer
//! goes by that. Everything else about an answer follows from
//! the request, so a token means the same on every node.

pub mod many;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tourbillon_core::control::StreamDef;
use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, PartitionId, WriterId};

/// Longest token that is looked at, bytes: more than any stream's partitions need.
const MAX_BYTES: usize = 65_536;

/// How far a node must have followed, by partition: everything below the offset.
pub type Positions = BTreeMap<PartitionId, Offset>;

/// Why a token cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct TokenError {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

/// Where a row stands in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowPlace {
    /// Its event time, ns since the epoch, where the answer goes by event time.
    pub event: Option<i64>,
    /// Its key.
    pub key: Key,
}

impl From<Key> for RowPlace {
    fn from(key: Key) -> Self {
        Self { event: None, key }
    }
}

/// The rows of an answer; with `after`, the place in it from which to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Rows below these offsets, by partition. Partitions that came later have none.
    pub offsets: Vec<Offset>,
    /// How far the stream is complete in these rows, if it is known.
    pub complete_through: Option<Hlc>,
    /// The stamp from which retention had left rows.
    pub kept_from: Hlc,
    /// Number of columns that the stream had.
    pub columns: Option<usize>,
    /// The last row that was given.
    pub after: Option<RowPlace>,
}

impl Token {
    /// The offset below which its rows of a partition lie.
    pub fn offset(&self, partition: PartitionId) -> Offset {
        let known = usize::try_from(partition.0).ok();
        let known = known.and_then(|partition| self.offsets.get(partition));
        known.copied().unwrap_or(Offset(0))
    }

    /// How far a node must have followed to know its rows.
    pub fn positions(&self) -> Positions {
        let partitions = (0..).map(PartitionId);
        partitions.zip(self.offsets.iter().copied()).collect()
    }

    /// Whether the stream has as many partitions and columns as the token knows.
    pub(crate) fn fits(&self, def: &StreamDef) -> bool {
        let columns = def.schema().columns().len();
        self.offsets.len() <= def.partitions as usize
            && self.columns.is_none_or(|known| known <= columns)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("1.")?;
        for (place, offset) in self.offsets.iter().enumerate() {
            let dash = if place == 0 { "" } else { "-" };
            write!(f, "{dash}{offset}")?;
        }
        if let Some(complete) = self.complete_through {
            write!(f, ".t{}", complete.0)?;
        }
        if self.kept_from > Hlc::MIN {
            write!(f, ".f{}", self.kept_from.0)?;
        }
        if let Some(columns) = self.columns {
            write!(f, ".c{columns}")?;
        }
        if let Some(RowPlace { event, key }) = self.after {
            if let Some(event) = event {
                write!(f, ".e{event}")?;
            }
            write!(f, ".k{}-{}", key.hlc.0, key.writer.0)?;
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let error = |what, at| TokenError { what, at };
        if text.len() > MAX_BYTES {
            return Err(error("is too long", MAX_BYTES));
        }
        let rest = text.strip_prefix("1.");
        let rest = rest.ok_or_else(|| error("expected `1.`", 0))?;
        let mut parts = located(rest, '.', 2);
        let (at, offsets) = parts.next().unwrap_or((2, ""));
        let offsets = located(offsets, '-', at).map(|(at, text)| Ok(Offset(number(text, at)?)));
        let mut token = Self {
            offsets: offsets.collect::<Result<_, _>>()?,
            complete_through: None,
            kept_from: Hlc::MIN,
            columns: None,
            after: None,
        };
        let mut order = "tfcek";
        let mut event = None;
        for (at, part) in parts {
            let tag = part.chars().next().filter(|tag| order.contains(*tag));
            let tag = tag.ok_or_else(|| error("unexpected part", at))?;
            order = order.split_once(tag).map_or("", |(_, later)| later);
            match tag {
                'e' => event = Some(signed(&part[1..], at + 1)?),
                _ => token.take(tag, &part[1..], at + 1)?,
            }
        }
        match &mut token.after {
            Some(after) => after.event = event,
            None if event.is_some() => return Err(error("expected a part `k`", text.len())),
            None => {}
        }
        Ok(token)
    }
}

impl Token {
    fn take(&mut self, tag: char, text: &str, at: usize) -> Result<(), TokenError> {
        match tag {
            't' => self.complete_through = Some(Hlc(number(text, at)?)),
            'f' => self.kept_from = Hlc(number(text, at)?),
            'c' => self.columns = Some(number(text, at)?),
            _ => self.after = Some(key(text, at)?.into()),
        }
        Ok(())
    }
}

/// A position as clients spell it: a token, or what an ingest answer said, as `0:17,3:5` or as
/// its JSON. The offsets of the latter are those of frames, so a node must be one beyond.
pub(crate) fn positions(text: &str) -> Result<Positions, TokenError> {
    if text.starts_with("1.") {
        return Ok(text.parse::<Token>()?.positions());
    }
    let what = "expected a snapshot token or `partition:offset,..`";
    let bare = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let (pairs, start) = bare.map_or((text, 0), |bare| (bare, 1));
    let mut positions = Positions::new();
    for (at, pair) in located(pairs, ',', start) {
        let error = || TokenError { what, at };
        let (partition, offset) = pair.split_once(':').ok_or_else(error)?;
        let partition = partition.trim().trim_matches('"');
        let partition = PartitionId(number(partition, at)?);
        let offset: u64 = number(offset.trim(), at + pair.len() - offset.len())?;
        let beyond = offset.checked_add(1).ok_or_else(error)?;
        if positions.insert(partition, Offset(beyond)).is_some() {
            let what = "a partition is named twice";
            return Err(TokenError { what, at });
        }
    }
    Ok(positions)
}

/// `HLC-WRITER`.
pub(crate) fn key(text: &str, at: usize) -> Result<Key, TokenError> {
    let what = "expected a stamp, `-` and a writer";
    let (hlc, writer) = text.split_once('-').ok_or(TokenError { what, at })?;
    Ok(Key {
        hlc: Hlc(number(hlc, at)?),
        writer: WriterId(number(writer, at + hlc.len() + 1)?),
    })
}

/// Digits only: a sign would make two spellings of one token.
pub(crate) fn number<T: FromStr>(text: &str, at: usize) -> Result<T, TokenError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    let what = "expected a whole number";
    value.ok_or(TokenError { what, at })
}

/// A time, which may lie before the epoch, in its only spelling.
fn signed(text: &str, at: usize) -> Result<i64, TokenError> {
    let value: Option<i64> = text.parse().ok();
    let value = value.filter(|value| value.to_string() == text);
    let what = "expected a whole number";
    value.ok_or(TokenError { what, at })
}

/// The parts between separators, and where they begin.
fn located(text: &str, separator: char, start: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut next = start;
    text.split(separator).map(move |part| {
        let at = next;
        next += part.len() + separator.len_utf8();
        (at, part)
    })
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn random(rng: &mut SmallRng) -> Token {
        let stamp = |rng: &mut SmallRng| Hlc(rng.random_range(0..i64::MAX));
        let partitions = rng.random_range(1..9);
        Token {
            offsets: (0..partitions).map(|_| Offset(rng.random())).collect(),
            complete_through: rng.random_bool(0.5).then(|| stamp(rng)),
            kept_from: if rng.random() { stamp(rng) } else { Hlc::MIN },
            columns: rng.random_bool(0.5).then(|| rng.random_range(0..99)),
            after: rng.random_bool(0.5).then(|| RowPlace {
                event: rng.random_bool(0.5).then(|| rng.random()),
                key: Key {
                    hlc: stamp(rng),
                    writer: WriterId(rng.random()),
                },
            }),
        }
    }

    #[test]
    fn tokens_come_back_as_they_went() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..1000 {
            let token = random(&mut rng);
            let text = token.to_string();
            assert_eq!(text.parse(), Ok(token), "{text}");
            // whatever is broken in it is told, or is another token with its own spelling
            let mut bytes = text.clone().into_bytes();
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random_range(b' '..b'~');
            let other = String::from_utf8(bytes).unwrap();
            if let Ok(token) = other.parse::<Token>() {
                assert_eq!(token.to_string().parse(), Ok(token), "{other}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_placed() {
        let bad = [
            ("", 0),
            ("2.5", 0),
            ("1.", 2),
            ("1.5-", 4),
            ("1.5-+7", 4),
            ("1.5-7-", 6),
            ("1.5.x7", 4),
            ("1.5.", 4),
            ("1.5.ü", 4),
            ("1.5.t", 5),
            ("1.5.t1.t2", 7),
            ("1.5.c1.t2", 7),
            ("1.5.k7", 5),
            ("1.5.k7-", 7),
            ("1.5.e7", 6),
            ("1.5.e-0.k7-1", 5),
            ("1.5.e+1.k7-1", 5),
            ("1.5.k7-1.e1", 9),
            ("1.99999999999999999999", 2),
        ];
        for (text, at) in bad {
            let error = text.parse::<Token>().unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }

    #[test]
    fn positions_are_spelled_in_three_ways() {
        let wanted: Positions = [(0, 18), (3, 6)]
            .map(|(p, o)| (PartitionId(p), Offset(o)))
            .into();
        assert_eq!(positions("0:17,3:5").unwrap(), wanted);
        assert_eq!(positions("{\"0\":17,\"3\": 5}").unwrap(), wanted);
        let token = positions("1.18-0-0-6.t5").unwrap();
        assert_eq!(
            (token[&PartitionId(0)], token[&PartitionId(3)]),
            (Offset(18), Offset(6))
        );
        for (bad, at) in [
            ("", 0),
            ("0:1,", 4),
            ("0:1,x:2", 4),
            ("0:1,0:2", 4),
            ("3:x", 2),
        ] {
            assert_eq!(positions(bad).unwrap_err().at, at, "{bad}");
        }
        assert!(positions("0:18446744073709551615").is_err());
    }
}
