use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn part(sequence: u64, part: u32, last: bool) -> SourcePart {
    SourcePart {
        source: "feed".into(),
        sequence,
        part,
        last,
        rows: 1,
    }
}

fn judge(table: &mut SourceTable, now: i64, part: SourcePart) -> Option<Reason> {
    table
        .admit(now, 0, &[part])
        .refused
        .first()
        .map(|refusal| refusal.reason)
}

#[test]
fn parts_are_accepted_once_and_in_order() {
    let mut table = SourceTable::default();
    assert_eq!(
        judge(&mut table, 0, part(5, 1, true)),
        Some(Reason::PartMissing)
    );
    assert_eq!(judge(&mut table, 0, part(5, 0, false)), None);
    assert_eq!(
        judge(&mut table, 0, part(5, 0, false)),
        Some(Reason::ClientDuplicate)
    );
    assert_eq!(judge(&mut table, 0, part(5, 1, true)), None);
    assert_eq!(
        judge(&mut table, 0, part(5, 1, true)),
        Some(Reason::ClientDuplicate)
    );
    assert_eq!(judge(&mut table, 0, part(4, 0, true)), None);
}

#[test]
fn sequences_far_below_the_newest_are_told_from_duplicates() {
    let mut table = SourceTable::default();
    assert_eq!(judge(&mut table, 0, part(3, 0, true)), None);
    assert_eq!(judge(&mut table, 0, part(5000, 0, true)), None);
    assert_eq!(
        judge(&mut table, 0, part(3, 0, true)),
        Some(Reason::ClientDuplicate)
    );
    assert_eq!(
        judge(&mut table, 0, part(4, 0, true)),
        Some(Reason::SequenceForgotten)
    );
    assert_eq!(judge(&mut table, 0, part(5000 - 1023, 0, true)), None);
}

#[test]
fn silent_sources_expire_by_append_time() {
    let mut table = SourceTable::default();
    assert_eq!(judge(&mut table, 0, part(1, 0, true)), None);
    assert_eq!(
        judge(&mut table, SOURCE_EXPIRY_NS, part(1, 0, true)),
        Some(Reason::ClientDuplicate)
    );
    assert_eq!(
        judge(&mut table, 2 * SOURCE_EXPIRY_NS + 1, part(1, 0, true)),
        None
    );
}

#[test]
fn the_longest_silent_source_makes_room() {
    let mut table = SourceTable::default();
    for i in 0..=MAX_SOURCES {
        let mut part = part(1, 0, true);
        part.source = format!("s{i}").into();
        table.admit(i64::try_from(i).unwrap(), 0, &[part]);
    }
    assert_eq!(table.by_name().len(), MAX_SOURCES);
    assert!(!table.by_name().contains_key("s0"));
}

proptest! {
    #[test]
    fn runs_agree_with_a_plain_set(sequences in proptest::collection::vec(0u64..600, 0..800)) {
        let (mut table, mut seen) = (SourceTable::default(), BTreeSet::new());
        for sequence in sequences {
            let fresh = seen.insert(sequence);
            let verdict = judge(&mut table, 0, part(sequence, 0, true));
            prop_assert_eq!(verdict, (!fresh).then_some(Reason::ClientDuplicate));
        }
    }
}
