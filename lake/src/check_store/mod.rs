//! Proof that a store does what the commit chain rests on.
//!
//! ```text
//! check_at_start: many races of two at once, one answer's time      a worker that starts
//! check:          crowds that race, then reads, lists, ranges, ..    `tourbillon check-store`
//! ```
//!
//! Without an atomic put-if-absent two workers could both commit. Everything is written below
//! `_check/` and removed again.

mod race;
mod seen;
#[cfg(test)]
mod tests;

use futures::future::join_all;
use object_store::path::Path;
use tourbillon_core::report::{Finding, Report};

use crate::error::LakeError;
use crate::store::Lake;
use race::Race;

/// Objects raced for at start, all at once, by two writers each: a store makes more of a crowd for
/// one object wait, and two that overlap suffice to show a gap between looking and writing.
const START_RACES: usize = 8;

/// Writers of such a race.
const START_WRITERS: usize = 2;

/// Writers that race for each object in the whole check.
const WRITERS: usize = 16;

/// Objects raced for in the whole check.
const CROWDS: usize = 5;

/// What the report calls put-if-absent.
const PUT_IF_ABSENT: &str = "put-if-absent";

/// Refuses a store on which two workers could both commit. Quick enough for every start.
pub async fn check_at_start(lake: &Lake, nonce: &str) -> Result<(), LakeError> {
    let races = (0..START_RACES).map(|number| {
        let path = path(nonce, &format!("start-{number}"));
        async move { race::race(lake, &path, START_WRITERS).await }
    });
    for race in join_all(races).await {
        let Race { winners, .. } = race?;
        if winners != 1 {
            return Err(LakeError::NotAtomic {
                url: lake.url().to_owned(),
                winners,
                writers: START_WRITERS,
            });
        }
    }
    Ok(())
}

/// Everything that the design needs of a store, found out from outside.
pub async fn check(lake: &Lake, nonce: &str) -> Report {
    let mut report = Report::default();
    report.push(one_after_the_other(lake, nonce).await);
    report.push(crowds(lake, nonce).await);
    for seen in seen::CHECKS {
        report.push(seen.run(lake, nonce).await);
    }
    report
}

/// Where a check writes.
fn path(nonce: &str, name: &str) -> Path {
    Path::from(format!("_check/{nonce}/{name}"))
}

/// The plain case, which a store that does not know the condition fails.
async fn one_after_the_other(lake: &Lake, nonce: &str) -> Finding {
    let path = path(nonce, "twice");
    let told = match race::one_after_the_other(lake, &path).await {
        Ok(true) => Finding::fine(PUT_IF_ABSENT, "an object that is there is not replaced"),
        Ok(false) => Finding::broken(PUT_IF_ABSENT, "replaces an object that is there")
            .with_fix(CONDITION_UNKNOWN),
        Err(error) => failed(PUT_IF_ABSENT, &error),
    };
    swept(lake, &path, told).await
}

const CONDITION_UNKNOWN: &str = "the store, or a gateway before it, ignores `If-None-Match: *`: \
                                 take another store, or AWS_CONDITIONAL_PUT=etag if that is unset";

/// All crowds at once, because a store that makes each in a crowd wait for those before it does
/// so for each object.
async fn crowds(lake: &Lake, nonce: &str) -> Finding {
    let races = (0..CROWDS).map(|number| {
        let path = path(nonce, &format!("race-{number}"));
        async move { race::race(lake, &path, WRITERS).await }
    });
    for race in join_all(races).await {
        match race {
            Ok(Race {
                winners: 1,
                holds_winner: true,
            }) => {}
            Ok(Race { winners: 1, .. }) => {
                let says = "the object holds something else than the writer that won has written";
                return Finding::broken(PUT_IF_ABSENT, says);
            }
            Ok(Race { winners, .. }) => {
                let says = format!("{winners} of {WRITERS} racing writers created one object");
                return Finding::broken(PUT_IF_ABSENT, says)
                    .with_fix("two workers could both commit: take another store");
            }
            Err(error) => return failed(PUT_IF_ABSENT, &error),
        }
    }
    let says =
        format!("of {WRITERS} racing writers one won, {CROWDS} times, and its bytes are there");
    Finding::fine(PUT_IF_ABSENT, says)
}

fn failed(what: &str, error: &LakeError) -> Finding {
    Finding::broken(what, tourbillon_core::error::error_chain(error))
}

/// The finding, once its object is gone.
async fn swept(lake: &Lake, path: &Path, told: Finding) -> Finding {
    if let Err(error) = lake.delete(path).await {
        return failed(&told.what, &error);
    }
    told
}
