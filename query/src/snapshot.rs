//! Naming rows before they are read, so that several reads see the same ones.
//!
//! A token alone fixes what [`QueryService::window`] gives, wherever the rows lie by then. Whoever
//! reads a stream in several pieces, as SQL does, takes a token first and reads each piece with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tourbillon_core::control::StreamDef;
use tourbillon_core::hlc::Hlc;

use crate::error::QueryError;
use crate::params::wrong;
use crate::service::QueryService;
use crate::token::Token;

impl QueryService {
    /// A stream, and a token for its rows: all that are there by now, or those of `wanted` once this
    /// node has followed that far. Waits at most `wait` for that.
    ///
    /// # Errors
    /// An unknown stream; a token that is not of this stream or is a cursor; a node that has not
    /// followed far enough in time.
    pub async fn snapshot(
        &self,
        stream: &str,
        wanted: Option<Token>,
        wait: Duration,
    ) -> Result<(Arc<StreamDef>, Token), QueryError> {
        let until = Instant::now() + wait;
        let mut def = self.find(stream).await?;
        let Some(token) = wanted else {
            let complete = self.wait_complete(&def, Hlc::MIN, until).await?;
            let kept_from = self.partitions(&def)?.iter().map(|p| p.kept_from()).max();
            let kept_from = kept_from.unwrap_or(Hlc::MIN);
            let token = self.token(&def, &[], complete, kept_from)?;
            return Ok((def, token));
        };
        if token.after.is_some() {
            return Err(wrong("snapshot", "this is a cursor, not a snapshot"));
        }
        if !token.fits(&def) {
            def = self.newest(&def).await?;
        }
        if !token.fits(&def) {
            let reason = format!("stream `{stream}` has fewer partitions or columns: whose is it?");
            return Err(wrong("snapshot", &reason));
        }
        self.wait_reached(&def, &token.positions(), until).await?;
        Ok((def, token))
    }
}
