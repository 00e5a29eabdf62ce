//! Which partitions a window is read from, and what of each, all at one moment.

use std::ops::Range;
use std::sync::Arc;

use tourbillon_core::control::StreamDef;
use tourbillon_core::filter::KeyPredicate;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::partitioner::homes;

use crate::error::QueryError;
use crate::params::{WindowParams, wrong};
use crate::partition::{Partition, View};
use crate::service::QueryService;
use crate::token::Token;
use crate::window::{Span, beyond, left};

/// What a window is read from.
pub(crate) struct Look {
    /// The stamps to read.
    pub(crate) hlc: Range<Hlc>,
    /// What is read of the partitions that can hold rows of it.
    pub(crate) views: Vec<View>,
    /// The rows below the offset in each partition that was asked for.
    pub(crate) snapshot: Vec<(PartitionId, Offset)>,
    /// What gives the same rows again.
    pub(crate) token: Token,
}

impl QueryService {
    /// Looks at the partitions that hold a window.
    pub(crate) fn look(
        &self,
        def: &Arc<StreamDef>,
        params: &WindowParams,
        keys: &KeyPredicate,
        span: &Span,
    ) -> Result<Look, QueryError> {
        loop {
            let newest = self.known(def);
            let look = self.look_at(def, newest.cuts(), params, keys, span)?;
            // a growth that was heard of meanwhile may have put rows where nobody looked
            if self.known(def).partitions == newest.partitions {
                return Ok(look);
            }
        }
    }

    /// Looks at the partitions of a stream that had these partition counts. If the filters fix the
    /// key, only those are read to which it was ever cut: no row of it is elsewhere.
    fn look_at(
        &self,
        def: &StreamDef,
        cuts: &[u32],
        params: &WindowParams,
        keys: &KeyPredicate,
        span: &Span,
    ) -> Result<Look, QueryError> {
        let asked = self.asked(def, params)?;
        let kept_from = asked.iter().map(|p| p.kept_from()).max();
        let kept_from = kept_from.unwrap_or(Hlc::MIN);
        let hlc = beyond(left(span.hlc.clone(), kept_from, params)?, params);
        let homes = homes(def.schema(), keys, cuts);
        let mut views = Vec::new();
        for partition in &asked {
            let holds = |homes: &std::collections::BTreeSet<_>| homes.contains(&partition.number);
            if homes.as_ref().is_none_or(holds) {
                let before = params.snapshot.as_ref().map(|t| t.offset(partition.number));
                views.push(partition.view(def.name.as_str(), &hlc, before)?);
            }
        }
        let token = match &params.snapshot {
            Some(token) => Token {
                after: None,
                ..token.clone()
            },
            None => self.token(def, &views, span.complete, kept_from)?,
        };
        let numbers = asked.iter().map(|partition| partition.number);
        Ok(Look {
            hlc,
            views,
            snapshot: numbers.map(|n| (n, token.offset(n))).collect(),
            token,
        })
    }

    /// The partitions that are asked for.
    fn asked(
        &self,
        def: &StreamDef,
        params: &WindowParams,
    ) -> Result<Vec<Arc<Partition>>, QueryError> {
        let mut partitions = self.partitions(def)?;
        if let Some(only) = params.partition {
            partitions.retain(|partition| partition.number.0 == only);
            if partitions.is_empty() {
                return Err(wrong("partition", "the stream has no such partition"));
            }
        }
        Ok(partitions)
    }

    /// What names the rows that there are by now.
    pub(crate) fn now(&self, def: &StreamDef) -> Result<Token, QueryError> {
        let complete = self.complete_through(def)?;
        self.token(def, &[], complete, Hlc::MIN)
    }

    /// What names the rows of these views, and of other partitions those that there are by now. T was
    /// looked at before them, so it holds in them.
    pub(crate) fn token(
        &self,
        def: &StreamDef,
        views: &[View],
        complete: Hlc,
        kept_from: Hlc,
    ) -> Result<Token, QueryError> {
        let offset = |partition: &Arc<Partition>| {
            let view = views.iter().find(|view| view.number == partition.number);
            let position = || partition.position(def.name.as_str());
            view.map_or_else(position, |view| Ok(view.before))
        };
        let partitions = self.partitions(def)?;
        Ok(Token {
            offsets: partitions.iter().map(offset).collect::<Result<_, _>>()?,
            complete_through: Some(complete),
            kept_from,
            columns: Some(def.schema().columns().len()),
            after: None,
        })
    }
}
