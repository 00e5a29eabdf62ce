//! `tourbillon window`.

use crate::args::WindowArgs;
use crate::commands::print;
use crate::out::Outcome;

/// Prints a window.
pub(crate) async fn run(args: WindowArgs) -> anyhow::Result<Outcome> {
    let own = [("columns", &args.columns), ("order", &args.order)];
    let query = print::query(&own, &args.range)?;
    let path = ["v1", "streams", args.stream.as_str(), "window"];
    print::rows(&args.service, &path, &query, &args.print).await
}
