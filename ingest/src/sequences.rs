//! The highest number of each source that passed here.
//!
//! A partition remembers [`SOURCE_WINDOW`] numbers of a source and refuses lower ones, of which it
//! cannot tell any more whether they are stored. Its verdict comes after the acknowledgement, so a
//! gateway must not acknowledge such a request. It knows what it queued itself; a client that has
//! more numbers in flight than that over several gateways finds its rows among the rejects.

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use tourbillon_core::ids::StreamName;
use tourbillon_core::machine::{SOURCE_EXPIRY_NS, SOURCE_WINDOW};

use crate::error::IngestError;
use crate::gateway::Source;

/// Sources in one of the two halves of the memory.
const HALF: usize = 16_384;

type Highest = HashMap<(StreamName, Arc<str>), Seen>;

#[derive(Clone, Copy, Debug)]
struct Seen {
    highest: u64,
    at_ns: i64,
}

/// Who was seen lately is in `young`; when that is full, it becomes `old`, and what was there is
/// forgotten.
#[derive(Debug, Default)]
pub(crate) struct Sequences(Mutex<Halves>);

#[derive(Debug, Default)]
struct Halves {
    young: Highest,
    old: Highest,
}

impl Sequences {
    /// Refuses a number that a partition may have forgotten, else notes it.
    pub(crate) fn admit(
        &self,
        stream: &StreamName,
        source: &Source,
        now_ns: i64,
    ) -> Result<(), IngestError> {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stream.clone(), Arc::clone(&source.name));
        let known = halves.young.get(&key).or(halves.old.get(&key));
        let awake = |seen: &&Seen| now_ns.saturating_sub(seen.at_ns) < SOURCE_EXPIRY_NS;
        let highest = known.filter(awake).map_or(0, |seen| seen.highest);
        if source.sequence < highest.saturating_sub(SOURCE_WINDOW - 1) {
            return Err(IngestError::SequenceForgotten {
                name: source.name.to_string(),
                sequence: source.sequence,
            });
        }
        if halves.young.len() >= HALF {
            halves.old = take(&mut halves.young);
        }
        let seen = Seen {
            highest: highest.max(source.sequence),
            at_ns: now_ns,
        };
        halves.young.insert(key, seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, sequence: u64) -> Source {
        let name = name.into();
        Source { name, sequence }
    }

    #[test]
    fn numbers_below_the_window_are_refused_as_a_partition_does() {
        let (sequences, stream) = (Sequences::default(), StreamName::new("s").unwrap());
        let admits = |name: &str, sequence, now_ns| {
            let admitted = sequences.admit(&stream, &source(name, sequence), now_ns);
            admitted.is_ok()
        };
        assert!(admits("a", 5000, 0));
        assert!(admits("a", 5000, 1), "a repeat");
        assert!(admits("a", 5000 - SOURCE_WINDOW + 1, 2), "the lowest");
        assert!(!admits("a", 5000 - SOURCE_WINDOW, 3));
        assert!(admits("b", 1, 3), "another source");
        assert!(admits("a", 1, 2 + SOURCE_EXPIRY_NS), "after an hour");
    }

    #[test]
    fn the_memory_is_bounded_and_who_is_awake_stays() {
        let (sequences, stream) = (Sequences::default(), StreamName::new("s").unwrap());
        for i in 0..5 * HALF {
            let other = source(&format!("other-{i}"), 1);
            sequences.admit(&stream, &other, 0).unwrap();
            let rising = source("a", i as u64);
            sequences.admit(&stream, &rising, 0).unwrap();
        }
        assert!(sequences.admit(&stream, &source("a", 1), 0).is_err());
        let halves = sequences.0.lock().unwrap();
        assert!(halves.young.len() + halves.old.len() <= 2 * HALF);
    }
}
