//! Looks whether the group leaves a partition to nobody.
//!
//! The coordinator gives a member that comes back under its name what it had, and asks nobody
//! whether the topics have grown meanwhile; if this member is the one that should notice, nobody
//! does. A change of its subscription makes the group look again.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;
use tourbillon_core::ids::PartitionId;

use super::member::MemberContext;
use crate::TopicPartition;

/// Pause between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// How long the cluster may take to tell who has what. The group is not served meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks in a row that must find a partition left alone: it may just be moving.
const IN_A_ROW: u32 = 2;

/// State of a group in which everyone has what it should have.
const STABLE: &str = "Stable";

/// Looks now and then.
pub(super) struct Audit {
    due: Instant,
    found: u32,
}

impl Audit {
    pub(super) fn new() -> Self {
        let due = Instant::now() + LOOK;
        Self { due, found: 0 }
    }

    /// Whether partitions have been left alone for long, if it is time for a look.
    pub(super) fn finds(
        &mut self,
        member: &BaseConsumer<MemberContext>,
        group: &str,
        wanted: impl FnOnce() -> BTreeSet<TopicPartition>,
    ) -> bool {
        if Instant::now() < self.due {
            return false;
        }
        self.due = Instant::now() + LOOK;
        let alone = match assigned_to_all(member, group) {
            Some(assigned) => !wanted().is_subset(&assigned),
            None => false,
        };
        self.found = if alone { self.found + 1 } else { 0 };
        if self.found < IN_A_ROW {
            return false;
        }
        self.found = 0;
        true
    }
}

/// What all members of a stable group have; none if it cannot be told now.
fn assigned_to_all(
    member: &BaseConsumer<MemberContext>,
    group: &str,
) -> Option<BTreeSet<TopicPartition>> {
    let told = member.fetch_group_list(Some(group), ANSWER_TIMEOUT);
    let told = told
        .inspect_err(|error| tracing::debug!(%error, group, "cannot tell who has what"))
        .ok()?;
    let group = told.groups().iter().find(|told| told.name() == group)?;
    if group.state() != STABLE {
        return None;
    }
    let mut all = BTreeSet::new();
    for member in group.members() {
        all.extend(Reader(member.assignment().unwrap_or_default()).assignment()?);
    }
    Some(all)
}

/// Reads what members of a group are told: a version, topics with their partitions, and more that
/// is of no interest here.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn assignment(mut self) -> Option<Vec<TopicPartition>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        let mut all = Vec::new();
        self.int16()?;
        for _ in 0..self.int32()? {
            let length = usize::try_from(self.int16()?).ok()?;
            let topic = std::str::from_utf8(self.bytes(length)?).ok()?;
            for _ in 0..self.int32()? {
                let partition = PartitionId(u32::try_from(self.int32()?).ok()?);
                let topic = topic.to_owned();
                all.push(TopicPartition { topic, partition });
            }
        }
        Some(all)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn int16(&mut self) -> Option<i16> {
        let bytes = self.bytes(2)?.try_into().ok()?;
        Some(i16::from_be_bytes(bytes))
    }

    fn int32(&mut self) -> Option<i32> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        Some(i32::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_and_broken_ones_are_not() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        bytes.extend(b"\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x07");
        bytes.extend(b"\x00\x02bc\x00\x00\x00\x00");
        bytes.extend([0xFF; 4]);
        let at = |partition| TopicPartition {
            topic: "a".into(),
            partition: PartitionId(partition),
        };
        assert_eq!(Reader(&bytes).assignment(), Some(vec![at(0), at(7)]));
        assert_eq!(Reader(&[]).assignment(), Some(Vec::new()));
        for cut in 1..bytes.len() - 4 {
            assert_eq!(Reader(&bytes[..cut]).assignment(), None, "{cut}");
        }
    }
}
