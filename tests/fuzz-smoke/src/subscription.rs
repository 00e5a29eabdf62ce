//! Parameters and cursors of a subscription.

use tourbillon_query::subscription::{Begin, Place, SubscribeParams};

use crate::samples::SCHEMA;

/// The name under which the header stands among the parameters.
const HEADER: &str = "Last-Event-ID";

/// Any cursor, and any parameters, `name=value` a line, are answered; what is let in begins where
/// its cursor says, in the cursor's mode, and a cursor survives being written again.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(place) = text.parse::<Place>() {
        again(&place);
    }
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    let mut pairs: Vec<_> = text.lines().map(pair).collect();
    let header = pairs.iter().position(|(name, _)| name == HEADER);
    let header = header.map(|at| pairs.remove(at).1);
    let Ok(params) = SubscribeParams::parse(&pairs, header.as_deref(), &SCHEMA) else {
        return;
    };
    assert!(!(params.eager && params.speed.is_some()), "an eager pace");
    assert!(
        params
            .speed
            .is_none_or(|speed| speed > 0.0 && speed < f64::INFINITY),
        "no pace"
    );
    if let Begin::Cursor(place) = &params.from {
        again(place);
        let eager = matches!(place, Place::Eager(_));
        assert_eq!(params.eager, eager, "the mode of another cursor");
        // as the header it means the same, whatever `from` says
        let text = place.to_string();
        let resumed = SubscribeParams::parse(&pairs, Some(&text), &SCHEMA);
        let resumed = resumed.expect("a subscription that was let in");
        assert_eq!(resumed, params, "another subscription");
    }
}

fn again(place: &Place) {
    let text = place.to_string();
    assert_eq!(text.parse().as_ref(), Ok(place), "the cursor changed");
    assert!(
        place.partitions() <= 1 << 32,
        "a cursor that knows of more partitions than there can be"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_let_in() {
        for seed in [
            "o1.1700000000000000000-3",
            "e1.5-7.t17",
            "e1.5-7.t17.k18-2~1-9",
        ] {
            assert!(seed.parse::<Place>().is_ok(), "{seed}");
        }
        let seed = include_str!("../../../fuzz/corpus/subscription/ordered");
        let pairs: Vec<_> = seed
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let params = SubscribeParams::parse(&pairs, None, &SCHEMA).unwrap();
        assert_eq!((params.speed, params.window.keys.len()), (Some(2.5), 1));
    }
}
