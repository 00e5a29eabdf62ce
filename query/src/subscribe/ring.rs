//! The newest rows of a stream, for as long as they are kept: what a reader of the live edge puts
//! in at one end, and subscribers take from wherever they stand.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;
use tourbillon_core::hlc::Hlc;

use super::place::{Place, Reach};
use super::stretch::Stretch;
use crate::error::QueryError;

/// Stretches between two places: a subscriber that stands anywhere between them finds everything
/// that comes after.
#[derive(Debug)]
pub(super) struct Ring {
    stretches: VecDeque<Arc<Stretch>>,
    /// Number of the first stretch; they are counted from the beginning of the hub on.
    first: u64,
    /// Number of the first stretch of which more than the rows may be kept.
    sharing: u64,
    /// Bytes of the rows.
    bytes: usize,
    start: Place,
    end: Place,
    /// T, such that everything through it has been put in.
    complete: Hlc,
    /// Why there is nothing new, for the moment.
    trouble: Option<Arc<QueryError>>,
    closed: bool,
}

/// What a subscriber finds in a ring.
#[derive(Debug)]
pub(super) enum Next {
    /// Rows that it lacks.
    Stretch(Arc<Stretch>),
    /// Nothing: it has everything up to `end`, and the stream is complete through `complete`.
    Even { complete: Hlc, end: Place },
    /// Nothing, and that may be because something is away.
    Trouble(Arc<QueryError>),
    /// It must look elsewhere: what it lacks is not kept any more.
    Behind,
}

impl Ring {
    /// One without rows: the stream has been read as far as this place.
    pub(super) fn new(place: Place, complete: Hlc) -> Self {
        Self {
            stretches: VecDeque::new(),
            first: 0,
            sharing: 0,
            bytes: 0,
            start: place.clone(),
            end: place,
            complete,
            trouble: None,
            closed: false,
        }
    }

    /// Whether everything that comes after `place` is here or will come.
    pub(super) fn covers(&self, place: &Place) -> bool {
        !self.closed && place.is_at_or_after(&self.start)
    }

    /// What comes after `place`, for a subscriber that has looked at all stretches below number
    /// `at`; moves `at` on.
    pub(super) fn next(&self, at: &mut u64, place: &Place) -> Next {
        if self.closed || (*at < self.first && !self.covers(place)) {
            return Next::Behind;
        }
        *at = self.first.max(*at);
        while let Some(stretch) = self.stretch(*at) {
            *at += 1;
            if !place.has(stretch.reach) {
                return Next::Stretch(Arc::clone(stretch));
            }
        }
        match &self.trouble {
            Some(error) => Next::Trouble(Arc::clone(error)),
            None => Next::Even {
                complete: self.complete,
                end: self.end.clone(),
            },
        }
    }

    fn stretch(&self, number: u64) -> Option<&Arc<Stretch>> {
        let index = number.checked_sub(self.first)?;
        self.stretches.get(usize::try_from(index).ok()?)
    }

    pub(super) fn push(&mut self, stretch: Stretch) {
        self.end.follow(stretch.reach);
        self.bytes += stretch.bytes;
        self.stretches.push_back(Arc::new(stretch));
    }

    /// There are no more rows up to these places.
    pub(super) fn reach(&mut self, reached: impl IntoIterator<Item = Reach>) {
        for reach in reached {
            self.end.follow(reach);
        }
    }

    /// The stream is complete through there, and everything through it is here.
    pub(super) fn settle(&mut self, complete: Hlc) {
        self.complete = self.complete.max(complete);
        self.trouble = None;
    }

    pub(super) fn trouble(&mut self, error: Arc<QueryError>) {
        self.trouble = Some(error);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Nothing more will come.
    pub(super) fn close(&mut self) {
        self.closed = true;
        while self.pop() {}
    }

    /// Goes on at another place; what lies between is not here.
    pub(super) fn skip_to(&mut self, place: Place, complete: Hlc) {
        while self.pop() {}
        // whoever has looked at everything has not seen what is skipped
        self.first += 1;
        (self.start, self.end) = (place.clone(), place);
        self.settle(complete);
    }

    /// Lets go of the oldest stretch, if there is one.
    pub(super) fn pop(&mut self) -> bool {
        let Some(oldest) = self.stretches.pop_front() else {
            return false;
        };
        oldest.forget_cuts();
        self.bytes -= oldest.bytes;
        self.start.follow(oldest.reach);
        self.first += 1;
        true
    }

    /// Keeps only the rows of the oldest stretch of which more is kept.
    pub(super) fn forget_cuts(&mut self) {
        if let Some(number) = self.oldest_sharing() {
            if let Some(stretch) = self.stretch(number) {
                stretch.forget_cuts();
            }
            self.sharing = number + 1;
        }
    }

    fn oldest_sharing(&self) -> Option<u64> {
        let number = self.sharing.max(self.first);
        self.stretch(number).map(|_| number)
    }

    /// Bytes of its rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of stretches.
    pub(super) fn len(&self) -> usize {
        self.stretches.len()
    }

    /// When the oldest stretch was read.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.stretches.front().map(|stretch| stretch.made)
    }

    /// When the oldest one was read of which more than the rows may be kept.
    pub(super) fn oldest_cuts(&self) -> Option<Instant> {
        let stretch = self.stretch(self.oldest_sharing()?);
        stretch.map(|stretch| stretch.made)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt32Array, UInt64Array};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use tourbillon_core::hlc::Key;
    use tourbillon_core::ids::{Offset, PartitionId, WriterId};

    use super::*;
    use crate::subscribe::place::Gained;
    use crate::token::Token;

    fn key(hlc: i64) -> Key {
        Key {
            hlc: Hlc(hlc),
            writer: WriterId(1),
        }
    }

    fn stretch(reach: Reach) -> Stretch {
        let columns: [(&str, ArrayRef); 3] = [
            ("hlc", Arc::new(TimestampNanosecondArray::from(vec![1]))),
            ("writer", Arc::new(UInt32Array::from(vec![1]))),
            ("log_offset", Arc::new(UInt64Array::from(vec![1]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        Stretch::new(&rows, reach, &Arc::default()).unwrap()
    }

    fn eager(offsets: Vec<Offset>) -> Place {
        Place::Eager(Gained::everything_in(Token {
            offsets,
            complete_through: Some(Hlc(0)),
            kept_from: Hlc::MIN,
            columns: None,
            after: None,
        }))
    }

    /// Two partitions, or an order: what comes next, as a reach.
    fn grown(is_eager: bool, made: &mut [u64; 2], rng: &mut SmallRng) -> Reach {
        let partition = if is_eager { rng.random_range(0..2) } else { 0 };
        made[partition] += rng.random_range(1..4);
        let to = made[partition];
        match is_eager {
            true => Reach::Gained(PartitionId(u32::try_from(partition).unwrap()), Offset(to)),
            false => Reach::Through(key(i64::try_from(to).unwrap())),
        }
    }

    #[test]
    fn whoever_is_not_behind_finds_all_that_it_lacks_once_and_in_order() {
        let (mut behind, mut even, mut found) = (0, 0, 0);
        for seed in 0..400 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let is_eager = rng.random();
            let start = match is_eager {
                true => eager(vec![Offset(0); 2]),
                false => Place::Ordered(key(0)),
            };
            let mut ring = Ring::new(start.clone(), Hlc(0));
            let (mut made, mut all) = ([0; 2], Vec::new());
            let mut readers = vec![(start.clone(), 0, 0); 4];
            for _ in 0..200 {
                match rng.random_range(0..10) {
                    0..4 => {
                        let reach = grown(is_eager, &mut made, &mut rng);
                        ring.push(stretch(reach));
                        all.push(reach);
                    }
                    4 => drop(ring.pop()),
                    5 => ring.forget_cuts(),
                    _ => {
                        let reader = rng.random_range(0..readers.len());
                        let (place, at, had) = &mut readers[reader];
                        match ring.next(at, place) {
                            Next::Stretch(stretch) => {
                                // what the oracle has next for it
                                assert_eq!(stretch.reach, all[*had], "{seed}");
                                place.follow(stretch.reach);
                                *had += 1;
                                found += 1;
                            }
                            Next::Even { end, .. } => {
                                assert_eq!((*had, &end), (all.len(), &*place), "{seed}");
                                even += 1;
                            }
                            Next::Behind => {
                                assert!(all.len() - *had > ring.len(), "{seed}");
                                // it catches up on its own, to any place up to the end
                                for reach in &all[*had..] {
                                    place.follow(*reach);
                                    *had += 1;
                                    if ring.covers(place) && rng.random() {
                                        break;
                                    }
                                }
                                *at = 0;
                                behind += 1;
                            }
                            Next::Trouble(error) => panic!("{error}"),
                        }
                    }
                }
            }
            let bytes: usize = ring.stretches.iter().map(|s| s.bytes).sum();
            assert_eq!(ring.bytes(), bytes);
        }
        assert!(
            behind > 500 && even > 500 && found > 5000,
            "{behind} {even} {found}"
        );
    }

    #[test]
    fn what_is_skipped_is_missed_by_nobody() {
        let mut ring = Ring::new(Place::Ordered(key(0)), Hlc(0));
        let (place, mut at) = (Place::Ordered(key(0)), 0);
        assert!(matches!(ring.next(&mut at, &place), Next::Even { .. }));
        ring.skip_to(Place::Ordered(key(9)), Hlc(9));
        assert!(matches!(ring.next(&mut at, &place), Next::Behind));
        let later = Place::Ordered(key(10));
        assert!(matches!(ring.next(&mut at, &later), Next::Even { .. }));
        ring.close();
        assert!(matches!(ring.next(&mut at, &later), Next::Behind) && !ring.covers(&later));
    }
}
