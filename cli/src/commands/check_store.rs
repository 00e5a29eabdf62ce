//! `tourbillon check-store`.

use rand::TryRngCore;
use rand::rngs::OsRng;
use tourbillon_lake::Lake;
use tourbillon_lake::check_store::check_put_if_absent;

use crate::args::CheckStoreArgs;
use crate::out::{self, Outcome};

/// Proves that the store puts if absent atomically.
pub(crate) async fn run(args: CheckStoreArgs) -> anyhow::Result<Outcome> {
    let lake = Lake::open(&args.url)?;
    let nonce = format!("{:016x}", OsRng.try_next_u64()?);
    check_put_if_absent(&lake, &nonce).await?;
    out::line(&format!("{}: put-if-absent is atomic", args.url));
    Ok(Outcome::Done)
}
