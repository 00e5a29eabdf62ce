//! `tourbillon asof`.

use crate::args::AsofArgs;
use crate::commands::print;
use crate::out::Outcome;

/// Prints an as-of join.
pub(crate) async fn run(args: AsofArgs) -> anyhow::Result<Outcome> {
    let (left, right) = (Some(args.left), Some(args.right));
    let own = [
        ("left", &left),
        ("right", &right),
        ("on", &args.on),
        ("tolerance", &args.tolerance),
        ("columns", &args.columns),
        ("right_columns", &args.right_columns),
    ];
    let query = print::query(&own, &args.range)?;
    print::rows(&args.service, &["v1", "asof"], &query, &args.print).await
}
