//! Where a subscriber stands, as clients see it: an opaque cursor.

use std::fmt;
use std::str::FromStr;

use tourbillon_core::hlc::{Hlc, Key};
use tourbillon_core::ids::{Offset, PartitionId};

use crate::token::{Token, TokenError, key, number};

/// Where a subscriber stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `o1.HLC-WRITER`: it has all rows up to this key.
    Ordered(Key),
    /// It has what an eager cursor says.
    Eager(Gained),
}

/// `e` and a token, perhaps `~PARTITION-OFFSET`: the subscriber wants no row up to the stamp `t`,
/// has those below the offsets, and of one partition those below a later offset up to the key `k`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gained {
    /// The rows that it has, with T and the last row of the partition under way.
    pub seen: Token,
    /// The partition that is caught up with, and how far.
    pub under_way: Option<(PartitionId, Offset)>,
}

/// How far some rows reach: whoever has them has everything up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Final rows, through this key.
    Through(Key),
    /// What a partition has gained, below this offset.
    Gained(PartitionId, Offset),
}

impl Gained {
    /// A subscriber that has all rows of a token, and wants none up to its T.
    pub(super) fn everything_in(token: Token) -> Self {
        let seen = Token {
            kept_from: Hlc::MIN,
            columns: None,
            ..token
        };
        let under_way = None;
        Self { seen, under_way }
    }

    /// The stamp at or below which the subscriber wants no row.
    pub(super) fn floor(&self) -> Hlc {
        self.seen.complete_through.unwrap_or(Hlc::MIN)
    }

    /// It has the rows of a partition below this offset.
    pub(super) fn reach(&mut self, partition: PartitionId, to: Offset) {
        let place = partition.0 as usize;
        let offsets = &mut self.seen.offsets;
        if offsets.len() <= place {
            offsets.resize(place + 1, Offset(0));
        }
        offsets[place] = offsets[place].max(to);
    }
}

impl Place {
    /// Whether a subscriber who is here has everything up to there.
    pub(super) fn has(&self, reach: Reach) -> bool {
        match (self, reach) {
            (Self::Ordered(sent), Reach::Through(to)) => *sent >= to,
            (Self::Eager(gained), Reach::Gained(partition, to)) => {
                gained.seen.offset(partition) >= to
            }
            _ => false,
        }
    }

    /// Goes on to there, never back.
    pub(super) fn follow(&mut self, reach: Reach) {
        match (self, reach) {
            (Self::Ordered(sent), Reach::Through(to)) => *sent = to.max(*sent),
            (Self::Eager(gained), Reach::Gained(partition, to)) => gained.reach(partition, to),
            _ => {}
        }
    }

    /// Whether everything that comes after it comes after `start` too, with nothing under way.
    pub(super) fn is_at_or_after(&self, start: &Self) -> bool {
        match (self, start) {
            (Self::Ordered(sent), Self::Ordered(start)) => sent >= start,
            (Self::Eager(gained), Self::Eager(start)) => {
                let mut begun = start.seen.positions().into_iter();
                gained.under_way.is_none() && begun.all(|(p, from)| gained.seen.offset(p) >= from)
            }
            _ => false,
        }
    }

    /// Number of partitions that it knows of.
    pub fn partitions(&self) -> usize {
        match self {
            Self::Ordered(_) => 0,
            Self::Eager(Gained { seen, under_way }) => {
                let under_way = under_way.map_or(0, |(partition, _)| partition.0 as usize + 1);
                seen.offsets.len().max(under_way)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordered(key) => write!(f, "o1.{}-{}", key.hlc.0, key.writer.0),
            Self::Eager(Gained { seen, under_way }) => {
                write!(f, "e{seen}")?;
                match under_way {
                    Some((partition, to)) => write!(f, "~{}-{to}", partition.0),
                    None => Ok(()),
                }
            }
        }
    }
}

impl FromStr for Place {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if let Some(rest) = text.strip_prefix("o1.") {
            return Ok(Self::Ordered(key(rest, 3)?));
        }
        let error = |what, at| TokenError { what, at };
        let rest = text.strip_prefix('e');
        let rest = rest.ok_or_else(|| error("expected `o1.` or `e1.`", 0))?;
        let (token, more) = rest
            .split_once('~')
            .map_or((rest, None), |(token, more)| (token, Some(more)));
        let token_error = |e: TokenError| error(e.what, e.at + 1);
        let seen: Token = token.parse().map_err(token_error)?;
        let at = token.len() + 2;
        let under_way = more.map(|more| {
            let (partition, to) = more
                .split_once('-')
                .ok_or_else(|| error("expected a partition, `-` and an offset", at))?;
            let to = Offset(number(to, at + partition.len() + 1)?);
            Ok((PartitionId(number(partition, at)?), to))
        });
        let under_way = under_way.transpose()?;
        if seen.after.is_some_and(|after| after.event.is_some()) {
            return Err(error("unexpected part `e`", at));
        }
        if seen.after.is_some() != under_way.is_some() {
            return Err(error("expected a key and a partition, or neither", at));
        }
        if seen.complete_through.is_none() {
            return Err(error("expected a part `t`", at));
        }
        Ok(Self::Eager(Gained { seen, under_way }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went_and_broken_ones_do_not() {
        for text in [
            "o1.1700000000000000000-3",
            "e1.5-7.t17",
            "e1.5-7.t17.k18-2~1-9",
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for (text, at) in [
            ("", 0),
            ("now", 0),
            ("o1.5", 3),
            ("e1.x", 3),
            ("e1.5", 5),
            ("e1.5.t1~1-9", 8),
            ("e1.5.t1.k3-3", 13),
            ("e1.5.t1.e2.k3-3~1-9", 16),
            ("e1.5.t1.k3-3~1", 13),
            ("e1.5.t1.k3-3~1-x", 15),
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
        }
    }
}
