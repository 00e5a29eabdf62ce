//! Rewriting neighbouring segments as one file, and proving that it holds the same rows.

use std::sync::Arc;

use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::error::ErrorKind;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::manifest::{ChainTip, CompactedFile, SegmentMeta};
use tourbillon_core::schema::StreamSchema;

use crate::blocking::off_thread;
use crate::chain::Chain;
use crate::error::LakeError;
use crate::segment::verify::{check_bytes, not_read, read_rows, verify_compacted};
use crate::segment::write::{SegmentBuilder, SegmentSpec};
use crate::store::{Lake, object_path};

impl Lake {
    /// Writes one file with the rows of `group`, segments of one schema that follow one another,
    /// then reads it back and proves part by part that it holds their rows. A single segment stays
    /// as it is. Takes the memory of one segment and of the file's bytes.
    pub async fn compact(
        &self,
        stream: &StreamName,
        partition: PartitionId,
        schema: Arc<StreamSchema>,
        group: &[SegmentMeta],
    ) -> Result<CompactedFile, LakeError> {
        let replaces = group.len() as u64;
        if let [file] = group {
            let file = file.clone();
            return Ok(CompactedFile { file, replaces });
        }
        let spec = SegmentSpec {
            partition,
            schema: &schema,
            schema_version: group.first().map_or(0, |segment| segment.schema_version),
        };
        let mut builder = SegmentBuilder::new(&spec)?;
        let lost = usize::from(broken(Rule::CompactsAll));
        for segment in &group[lost..] {
            builder = self.append_rows(stream, segment, builder).await?;
        }
        let encoded = in_thread(move || builder.finish()).await?;
        let file = self.put_segment(stream, &encoded).await?;
        drop(encoded);
        if !broken(Rule::CompactsAll) {
            self.prove_compacted(stream, &file, group).await?;
        }
        Ok(CompactedFile { file, replaces })
    }

    /// Whether a segment may be absent: a compacted file has its rows, or retention let them go.
    pub async fn is_replaced(
        &self,
        stream: &StreamName,
        partition: PartitionId,
        segment: &SegmentMeta,
    ) -> Result<bool, LakeError> {
        let boundaries = Chain::boundaries(self, stream, partition);
        let before = boundaries.standing().await?;
        let kept = before
            .as_ref()
            .and_then(|link| link.commit.body.kept.as_ref());
        if kept.is_some_and(|kept| segment.last_key <= kept.gone_through) {
            return Ok(true);
        }
        let tip = kept.map_or(ChainTip::EMPTY, |kept| kept.compactions);
        let compactions = Chain::compactions(self, stream, partition);
        match compactions.newest_after(&tip).await {
            Err(error) if error.kind() == ErrorKind::Data => {
                Err(boundaries.overtaken_since(before.as_ref(), error).await?)
            }
            newest => Ok(newest?.is_some_and(|link| segment.last_key <= link.commit.body.last_key)),
        }
    }

    /// Proves that a stored file holds the rows of `parts`, and no others.
    pub async fn prove_compacted(
        &self,
        stream: &StreamName,
        file: &SegmentMeta,
        parts: &[SegmentMeta],
    ) -> Result<(), LakeError> {
        let stored = self.get_segment(stream, &file.name).await?;
        let path = object_path(stream, &file.name).to_string();
        let (file, parts) = (file.clone(), parts.to_vec());
        in_thread(move || verify_compacted(&path, &stored, &file, &parts)).await
    }

    async fn append_rows(
        &self,
        stream: &StreamName,
        segment: &SegmentMeta,
        mut builder: SegmentBuilder,
    ) -> Result<SegmentBuilder, LakeError> {
        let bytes = self.get_segment(stream, &segment.name).await?;
        let path = object_path(stream, &segment.name).to_string();
        let segment = segment.clone();
        in_thread(move || {
            check_bytes(&path, &bytes, &segment)?;
            for batch in read_rows(&path, &bytes)? {
                let batch = batch.map_err(|error| not_read(&path, error.into()))?;
                builder.push(&batch)?;
            }
            Ok(builder)
        })
        .await
    }
}

async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LakeError> + Send + 'static,
) -> Result<T, LakeError> {
    off_thread(work).await.map_err(LakeError::Task)?
}
