//! The control topic: which streams there are and which writers live.
//!
//! Its records are few and small, so they are JSON. Every process applies them in log order and so
//! holds the same view. A record that cannot be read, or that contradicts one before it, is
//! counted and changes nothing, for everyone alike.

mod description;
mod records;
mod stream;
mod view;

pub use description::{StreamDescription, StreamList};
pub use records::{ColumnSpec, ControlRecord, StreamSpec};
pub use stream::{StreamDef, StreamError};
pub use view::{ControlView, WriterInfo, WriterPhase};

/// Most partitions of a stream.
pub const MAX_PARTITIONS: u32 = 1024;

/// Shortest and longest event window, ns: 100 ms to a day.
pub const WINDOW_RANGE_NS: (i64, i64) = (100_000_000, 86_400_000_000_000);

/// Shortest and longest span of compaction, ns: a second to a day.
pub const COMPACTION_RANGE_NS: (i64, i64) = (1_000_000_000, 86_400_000_000_000);

/// Span of compaction of a stream that does not say, ns: an hour.
pub const DEFAULT_COMPACTION_NS: i64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Hlc;
    use crate::ids::{Offset, StreamName, WriterId};
    use crate::replica::Codecs;

    fn spec(version: u32) -> StreamSpec {
        let column = |name: &str, nullable| ColumnSpec {
            name: name.into(),
            ty: "string".into(),
            nullable,
        };
        let mut columns = vec![column("symbol", false)];
        columns.extend((1..version).map(|v| column(&format!("extra{v}"), true)));
        StreamSpec {
            name: "ticks".into(),
            version,
            columns,
            key: vec!["symbol".into()],
            event_time: None,
            partitions: 4,
            window_ns: 10_000_000_000,
            compaction_ns: DEFAULT_COMPACTION_NS,
            retention_ns: 0,
            max_drift_ns: Some(500_000_000),
        }
    }

    fn feed(records: &[ControlRecord]) -> ControlView {
        let mut view = ControlView::default();
        for (i, record) in records.iter().enumerate() {
            view.apply(Offset(i as u64), 7, &record.encode().unwrap());
        }
        view
    }

    #[test]
    fn first_record_of_a_version_wins() {
        let mut rival = spec(2);
        rival.columns[1].name = "rival".into();
        let view = feed(&[1, 2, 3].map(|v| ControlRecord::Stream(spec(v))));
        let def = &view.streams[&StreamName::new("ticks").unwrap()];
        assert_eq!((def.version(), def.spec()), (3, spec(3)));
        assert!(def.codec(0).is_none() && def.codec(4).is_none());
        assert_eq!(def.codec(2).unwrap().schema().columns().len(), 2);
        let second = feed(&[spec(1), spec(2), rival].map(ControlRecord::Stream));
        assert_eq!(second.ignored, 1);
    }

    #[test]
    fn a_stream_remembers_the_partition_counts_that_it_had() {
        let grown = |version, partitions| StreamSpec {
            partitions,
            ..spec(version)
        };
        let versions = [
            grown(1, 4),
            grown(2, 6),
            grown(3, 6),
            grown(4, 3),
            grown(4, 9),
        ];
        let view = feed(&versions.map(ControlRecord::Stream));
        let def = &view.streams[&StreamName::new("ticks").unwrap()];
        assert_eq!((def.cuts(), view.ignored), (&[4, 6, 9][..], 1));
    }

    #[test]
    fn streams_only_ever_grow() {
        let def = StreamDef::create(&spec(1)).unwrap();
        let spoil: [fn(&mut StreamSpec); 7] = [
            |s| s.version = 3,
            |s| s.partitions = 3,
            |s| s.window_ns *= 2,
            |s| s.compaction_ns = 0,
            |s| s.retention_ns = DEFAULT_COMPACTION_NS - 1,
            |s| s.key = vec![],
            |s| s.columns[1].nullable = false,
        ];
        for change in spoil {
            let mut next = spec(2);
            change(&mut next);
            assert!(def.evolve(&next).is_err());
        }
    }

    #[test]
    fn retention_may_change_and_needs_compaction() {
        let day = 86_400_000_000_000;
        let kept = |version, compaction_ns, retention_ns| StreamSpec {
            compaction_ns,
            retention_ns,
            ..spec(version)
        };
        let def = StreamDef::create(&kept(1, DEFAULT_COMPACTION_NS, day)).unwrap();
        let next = def.evolve(&kept(2, DEFAULT_COMPACTION_NS, 0)).unwrap();
        assert_eq!((def.retention_ns, next.retention_ns), (day, 0));
        assert_eq!(next.shortest_retention_ns, day);
        assert!(StreamDef::create(&kept(1, 0, day)).is_err());
        assert!(StreamDef::create(&kept(1, 1, 0)).is_err());
        assert_eq!(StreamDef::create(&kept(1, 0, 0)).unwrap().compaction_ns, 0);
        // a record of the first release names neither
        let mut old = serde_json::to_value(spec(1)).unwrap();
        old.as_object_mut().unwrap().remove("compaction_ns");
        old.as_object_mut().unwrap().remove("retention_ns");
        assert_eq!(serde_json::from_value::<StreamSpec>(old).unwrap(), spec(1));
    }

    #[test]
    fn a_fence_intent_stops_the_lease_and_unknown_records_are_counted() {
        let writer = WriterId(0);
        let alive = |nonce: &str| ControlRecord::Alive {
            writer,
            nonce: nonce.into(),
            hlc: Hlc(5),
        };
        let join = ControlRecord::Join {
            gateway: "g".into(),
            nonce: "n".into(),
            lease_ns: 7,
        };
        let intent = ControlRecord::FenceIntent { writer };
        let mut view = feed(&[join, alive("a"), intent, alive("b")]);
        assert_eq!(view.writers[&writer].last_alive_nonce, "a");
        assert_eq!(view.lingering("g", WriterId(9)), [writer]);
        view.apply(
            Offset(4),
            7,
            &ControlRecord::Leave { writer }.encode().unwrap(),
        );
        assert!(view.lingering("g", WriterId(9)).is_empty());
        view.apply(Offset(5), 7, br#"{"kind":"later"}"#);
        assert_eq!((view.ignored, view.next_offset), (2, Offset(6)));
    }
}
