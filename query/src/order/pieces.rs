//! Cutting a range of times into pieces whose rows fit in memory.
//!
//! How long a piece may be is estimated from what is known of the rows without reading them: how
//! many there are between which times. Filters, and rows that do not lie evenly, make the estimate
//! wrong, so what was found in a piece decides how much the next one should hold.

/// Rows that a piece may hold.
pub(crate) const MAX_PIECE_ROWS: usize = 131_072;

/// Rows of the first piece, by estimate: few, so that the first rows come at once.
const FIRST_PIECE_ROWS: f64 = 8192.0;

/// How much more than the rows that are asked for the first piece holds, by estimate.
const MARGIN: f64 = 1.25;

/// How much less the next piece should hold after one with too many rows.
const SHRINK: f64 = 4.0;

/// How much more the next piece should hold after one with few rows.
const GROW: f64 = 2.0;

/// Some rows, and the lowest time and the highest that they can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) rows: u64,
}

impl Extent {
    /// Rows between two times, both included, if they lie evenly.
    pub(crate) fn estimate(&self, (first, last): (i64, i64)) -> f64 {
        let (from, to) = (self.first.max(first), self.last.min(last));
        if from > to {
            return 0.0;
        }
        self.rows as f64 * (length(from, to) / length(self.first, self.last))
    }
}

fn length(first: i64, last: i64) -> f64 {
    last.abs_diff(first) as f64 + 1.0
}

/// What is left of a range of times, ns, both ends included, to be read from one of them.
#[derive(Debug)]
pub(crate) struct Pieces {
    extents: Vec<Extent>,
    left: Option<(i64, i64)>,
    backwards: bool,
    /// Rows that a piece should hold by estimate.
    aim: f64,
}

impl Pieces {
    /// The pieces of the part of `first..=last` where there may be rows.
    pub(crate) fn new(extents: Vec<Extent>, (first, last): (i64, i64), backwards: bool) -> Self {
        let lowest = extents.iter().map(|extent| extent.first).min();
        let highest = extents.iter().map(|extent| extent.last).max();
        let left = lowest.zip(highest);
        let left = left.map(|(lowest, highest)| (lowest.max(first), highest.min(last)));
        Self {
            extents,
            left: left.filter(|(first, last)| first <= last),
            backwards,
            aim: FIRST_PIECE_ROWS,
        }
    }

    /// The same with a first piece of fewer rows, if so many may be all that is asked for.
    pub(crate) fn for_rows(mut self, rows: usize) -> Self {
        let most = FIRST_PIECE_ROWS / 4.0;
        self.aim = (rows as f64 * MARGIN).clamp(most / 8.0, most);
        self
    }

    /// The next piece; the same again until it was [`taken`](Self::taken) or is
    /// [`too_long`](Self::too_long).
    pub(crate) fn next(&self) -> Option<(i64, i64)> {
        let (first, last) = self.left?;
        // the longest that the estimate allows, and one ns at least
        let (mut fits, mut least_that_does_not) = (0, last.abs_diff(first).saturating_add(1));
        while least_that_does_not - fits > 1 {
            let middle = fits + (least_that_does_not - fits) / 2;
            match self.estimate(self.piece(first, last, middle)) <= self.aim {
                true => fits = middle,
                false => least_that_does_not = middle,
            }
        }
        Some(self.piece(first, last, fits))
    }

    /// The times that lie at most so far from the end that is read from.
    fn piece(&self, first: i64, last: i64, distance: u64) -> (i64, i64) {
        match self.backwards {
            false => (first, first.saturating_add_unsigned(distance).min(last)),
            true => (last.saturating_sub_unsigned(distance).max(first), last),
        }
    }

    fn estimate(&self, piece: (i64, i64)) -> f64 {
        let rows = self.extents.iter().map(|extent| extent.estimate(piece));
        rows.sum()
    }

    /// The next piece was read and had so many rows.
    pub(crate) fn taken(&mut self, (first, last): (i64, i64), rows: usize) {
        self.left = self.left.and_then(|left| match self.backwards {
            false => Some((last.checked_add(1)?, left.1)),
            true => Some((left.0, first.checked_sub(1)?)),
        });
        self.left = self.left.filter(|(first, last)| first <= last);
        let backwards = self.backwards;
        self.extents.retain(|extent| match backwards {
            false => extent.last > last,
            true => extent.first < first,
        });
        if rows < MAX_PIECE_ROWS / 3 {
            self.aim *= GROW;
        }
    }

    /// The next piece has too many rows; it must be longer than one ns.
    pub(crate) fn too_long(&mut self, piece: (i64, i64)) {
        self.aim = self.aim.min(self.estimate(piece)) / SHRINK;
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Extents and times within them.
    fn random(rng: &mut SmallRng) -> (Vec<Extent>, Vec<i64>) {
        let scale = [10, 100_000, i64::MAX / 2][rng.random_range(0..3)];
        let (mut extents, mut times) = (Vec::new(), Vec::new());
        for _ in 0..rng.random_range(1..8) {
            let (one, two) = (
                rng.random_range(-scale..scale),
                rng.random_range(-scale..scale),
            );
            let rows = rng.random_range(2..60_000_u64);
            let extent = Extent {
                first: one.min(two),
                last: one.max(two),
                rows,
            };
            // evenly, or all at one end
            let even: bool = rng.random();
            times.extend([extent.first, extent.last]);
            times.extend((2..rows).map(|_| match even {
                true => rng.random_range(extent.first..=extent.last),
                false => extent.first,
            }));
            extents.push(extent);
        }
        times.sort_unstable();
        (extents, times)
    }

    #[test]
    fn pieces_follow_one_another_and_hold_every_time_once() {
        for seed in 0..300 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let (extents, mut times) = random(&mut rng);
            let backwards: bool = rng.random();
            let mut pieces = Pieces::new(extents, (i64::MIN, i64::MAX), backwards);
            let (mut tries, mut taken) = (0, 0);
            while let Some(piece) = pieces.next() {
                tries += 1;
                assert!(tries < 2000, "seed {seed} does not end");
                let from = times.partition_point(|time| *time < piece.0);
                let to = times.partition_point(|time| *time <= piece.1);
                let rows = to - from;
                if rows > MAX_PIECE_ROWS && piece.0 < piece.1 {
                    pieces.too_long(piece);
                    continue;
                }
                taken += 1;
                pieces.taken(piece, rows);
                // no time is left behind the piece
                assert_eq!(if backwards { times.len() - to } else { from }, 0);
                times.drain(from..to);
            }
            assert!(times.is_empty(), "seed {seed}: {} left out", times.len());
            assert!(taken < 300, "seed {seed}: {taken} pieces");
        }
    }

    #[test]
    fn a_window_is_not_read_beyond_its_ends() {
        let extent = Extent {
            first: 0,
            last: 1_000_000,
            rows: 1_000_000,
        };
        for backwards in [false, true] {
            let mut pieces = Pieces::new(vec![extent], (500, 40_000), backwards);
            let first = pieces.next().unwrap();
            let rows = length(first.0, first.1);
            assert!((8000.0..8400.0).contains(&rows), "{rows}");
            let (mut lowest, mut highest) = first;
            while let Some(piece) = pieces.next() {
                pieces.taken(piece, 8192);
                (lowest, highest) = (lowest.min(piece.0), highest.max(piece.1));
            }
            assert_eq!((lowest, highest), (500, 40_000));
            assert!(
                Pieces::new(vec![extent], (6, 5), backwards)
                    .next()
                    .is_none()
            );
            assert!(
                Pieces::new(vec![extent], (-9, -1), backwards)
                    .next()
                    .is_none()
            );
            assert!(Pieces::new(Vec::new(), (0, 9), backwards).next().is_none());
        }
    }

    #[test]
    fn gaps_are_crossed_in_one_piece() {
        let at = |first: i64| Extent {
            first,
            last: first + 10_000,
            rows: 4000,
        };
        let extents = vec![at(0), at(i64::MAX / 2), at(i64::MAX - 20_000)];
        let mut pieces = Pieces::new(extents, (i64::MIN, i64::MAX), false);
        let mut count = 0;
        while let Some(piece) = pieces.next() {
            pieces.taken(piece, 4000);
            count += 1;
        }
        assert!(count <= 3, "{count}");
    }
}
