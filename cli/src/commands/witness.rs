//! Witness files of `tourbillon verify`: a line a head.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tourbillon_core::ids::{PartitionId, StreamName};
use tourbillon_core::time::format_time_ns;
use tourbillon_lake::witness::{Head, Held};
use tourbillon_lake::{Lake, LakeError};

/// A witness file as it was at the start.
#[derive(Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    heads: Vec<Head>,
}

impl Witness {
    /// Reads a file; one that is absent has seen nothing yet.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot read the witness file {}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(context),
        };
        let head = |(number, line): (usize, &str)| {
            serde_json::from_str(line).with_context(|| format!("line {} is no head", number + 1))
        };
        let heads: anyhow::Result<_> = text.lines().enumerate().map(head).collect();
        Ok(Self {
            path: path.to_owned(),
            heads: heads.with_context(context)?,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What of a chain's history is not as it was seen, and how many heads retention has let go.
    pub(crate) async fn check(
        &self,
        lake: &Lake,
        stream: &StreamName,
        partition: PartitionId,
    ) -> anyhow::Result<(Vec<String>, usize)> {
        let (mut lies, mut let_go) = (Vec::new(), 0);
        for head in self
            .heads
            .iter()
            .filter(|head| head.is_of(stream, partition))
        {
            match head.check(lake, stream).await {
                Ok(Held::Yes) => {}
                Ok(Held::LetGo) => let_go += 1,
                Err(error @ LakeError::Store { .. }) => return Err(error.into()),
                Err(error) => lies.push(format!("{:#}", anyhow::Error::from(error))),
            }
        }
        Ok((lies, let_go))
    }

    /// Adds the heads of chains as they are now; how many.
    pub(crate) async fn note(
        &self,
        lake: &Lake,
        chains: Vec<(&str, u32)>,
        now_ns: i64,
    ) -> anyhow::Result<usize> {
        let context = || format!("cannot write the witness file {}", self.path.display());
        let noted = format_time_ns(now_ns);
        let mut lines = String::new();
        for (stream, partition) in chains {
            let (stream, partition) = (StreamName::new(stream)?, PartitionId(partition));
            let head = Head::of(lake, &stream, partition, &noted).await?;
            let Some(head) = head.filter(|head| !self.knows(head)) else {
                continue;
            };
            lines += &serde_json::to_string(&head)?;
            lines.push('\n');
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        let mut file: File = file.with_context(context)?;
        file.write_all(lines.as_bytes()).with_context(context)?;
        file.sync_all().with_context(context)?;
        Ok(lines.lines().count())
    }

    fn knows(&self, head: &Head) -> bool {
        let same = |known: &Head| known.hash == head.hash && known.seq == head.seq;
        self.heads.iter().any(|known| {
            same(known) && known.stream == head.stream && known.partition == head.partition
        })
    }
}
