//! `tourbillon check-store`.

use rand::TryRngCore;
use rand::rngs::OsRng;
use tourbillon_lake::Lake;
use tourbillon_lake::check_store::check;

use super::report;
use crate::args::CheckStoreArgs;
use crate::out::Outcome;

/// Proves what the design needs of a store.
pub(crate) async fn run(args: CheckStoreArgs) -> anyhow::Result<Outcome> {
    let lake = Lake::open(&args.url)?;
    let nonce = format!("{:016x}", OsRng.try_next_u64()?);
    Ok(report::print(&check(&lake, &nonce).await, args.json))
}
