//! The state of a bar by the parts of a snapshot that it was made of, so that a part that comes
//! twice is known and counts once.
//!
//! A snapshot is a set of stretches of partitions' logs. Merging is the union of such sets, as in
//! state-based CRDTs: commutative, associative and idempotent, whoever computed which part where.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use super::{BarKind, BarState};
use crate::ids::{Offset, PartitionId};

/// A stretch of a partition's log: the accepted rows whose offsets lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition.
    pub partition: PartitionId,
    /// Its offsets; not empty.
    pub offsets: Range<Offset>,
}

/// Why parts cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartsError {
    /// Rows would be counted twice.
    #[error(
        "offsets {} to {} and {} to {} of partition {} overlap: cut both alike",
        one.offsets.start, one.offsets.end, other.offsets.start, other.offsets.end, one.partition
    )]
    Overlap {
        /// A part.
        one: Part,
        /// One that shares offsets with it.
        other: Part,
    },
    /// One part has two states: one of them was not made of all its rows.
    #[error(
        "offsets {} to {} of partition {} come with two different states",
        part.offsets.start, part.offsets.end, part.partition
    )]
    Differ {
        /// The part.
        part: Part,
    },
}

/// A bar's states by part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BarParts {
    /// End of the stretch and state, by partition and start. No two overlap.
    parts: BTreeMap<(PartitionId, Offset), (Offset, BarState)>,
}

impl BarParts {
    /// Adds a part, unless it is there already.
    pub fn add(&mut self, part: &Part, state: &BarState) -> Result<(), PartsError> {
        let start = (part.partition, part.offsets.start);
        if let Some((end, known)) = self.parts.get(&start)
            && *end == part.offsets.end
        {
            let same = known == state;
            return same
                .then_some(())
                .ok_or_else(|| PartsError::Differ { part: part.clone() });
        }
        // stretches do not overlap, so the last that begins below the end is the one to look at
        let below = self.parts.range(..(part.partition, part.offsets.end));
        if let Some((&(partition, start), &(end, _))) = below.last()
            && partition == part.partition
            && end > part.offsets.start
        {
            let offsets = start..end;
            let other = Part { partition, offsets };
            let one = part.clone();
            return Err(PartsError::Overlap { one, other });
        }
        self.parts.insert(start, (part.offsets.end, state.clone()));
        Ok(())
    }

    /// Adds what the other has and this has not.
    pub fn merge(&mut self, other: &Self) -> Result<(), PartsError> {
        other
            .parts()
            .try_for_each(|(part, state)| self.add(&part, state))
    }

    /// The parts and their states.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &BarState)> {
        self.parts
            .iter()
            .map(|(&(partition, start), (end, state))| {
                let offsets = start..*end;
                (Part { partition, offsets }, state)
            })
    }

    /// The state of the rows of all parts.
    pub fn state(&self, kind: BarKind) -> BarState {
        let mut all = BarState::new(kind);
        self.parts.values().for_each(|(_, state)| all.merge(state));
        all
    }
}
