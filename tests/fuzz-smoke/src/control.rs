//! Records of the control topic.

use tourbillon_core::control::{ControlRecord, ControlView, StreamDef, StreamSpec};
use tourbillon_core::ids::Offset;

/// Any records, one a line, leave a view that can be read, and whose streams can be described and
/// made again.
pub fn run(data: &[u8]) {
    let mut view = ControlView::default();
    for (offset, record) in (0..).zip(data.split(|byte| *byte == b'\n')) {
        view.apply(Offset(offset), 7, record);
        assert_eq!(view.next_offset, Offset(offset + 1), "a record was missed");
    }
    for def in view.streams.values() {
        check(def);
    }
    for id in view.writers.keys() {
        assert!(u64::from(id.0) < view.next_offset.0, "an unknown writer");
    }
}

fn check(def: &StreamDef) {
    let spec = def.spec();
    assert!(def.evolve(&spec).is_err(), "a version follows itself");
    assert_eq!(def.describe().name, spec.name);
    let version = 1;
    let fresh = StreamSpec { version, ..spec };
    let again = StreamDef::create(&fresh).expect("a stream that exists");
    assert_eq!(again.spec(), fresh, "the stream changed");
    let mut view = ControlView::default();
    let record = ControlRecord::Stream(fresh).encode();
    view.apply(Offset(0), 7, &record.expect("a record that was read"));
    assert_eq!(view.streams.len(), 1, "a record just written is ignored");
}
