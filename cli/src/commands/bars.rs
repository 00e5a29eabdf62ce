//! `tourbillon bars`.

use crate::args::BarsArgs;
use crate::commands::print;
use crate::out::Outcome;

/// Prints bars.
pub(crate) async fn run(args: BarsArgs) -> anyhow::Result<Outcome> {
    let interval = Some(args.interval);
    let own = [
        ("interval", &interval),
        ("price", &args.price),
        ("size", &args.size),
        ("order", &args.order),
    ];
    let query = print::query(&own, &args.range)?;
    let path = ["v1", "streams", args.stream.as_str(), "bars"];
    print::rows(&args.service, &path, &query, &args.print).await
}
