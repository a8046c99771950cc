//! A watch: the commits as they happen, and the log where it is behind.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Batch, Revision, StoreError, Watch, reader::Readers};
use crate::store::WatchError;

/// Revisions read from the log at a time.
const LOG_PAGE: u64 = 256;

#[derive(Debug)]
pub(super) struct SqliteWatch {
    /// Last revision that was handed out.
    after: Revision,
    commits: broadcast::Receiver<Batch>,
    /// Read from the log and not handed out yet; follows `after` without a gap.
    behind: VecDeque<Batch>,
    /// Whether the log must be read before the commits are of use.
    late: bool,
    readers: Arc<Readers>,
}

/// What the log had to say.
enum Page {
    Batches(Vec<Batch>),
    Compacted,
}

impl SqliteWatch {
    pub(super) fn new(
        after: Revision,
        commits: broadcast::Receiver<Batch>,
        readers: Arc<Readers>,
    ) -> Self {
        Self {
            after,
            commits,
            behind: VecDeque::new(),
            late: true,
            readers,
        }
    }

    async fn read_log(&mut self) -> Result<(), WatchError> {
        let after = self.after;
        let page = self.readers.read(move |reader| {
            let newest = reader.revision()?;
            // A revision of the future is of another history: a backup was restored.
            if after > newest || after < reader.log_floor()? {
                return Ok(Page::Compacted);
            }
            let to = Revision(newest.0.min(after.0 + LOG_PAGE));
            reader.log(after, to).map(Page::Batches)
        });
        match page.await? {
            Page::Compacted => Err(WatchError::Compacted(after)),
            Page::Batches(batches) => {
                self.late = !batches.is_empty();
                self.behind = batches.into();
                Ok(())
            }
        }
    }

    fn hand_out(&mut self, batch: Batch) -> Batch {
        self.after = batch.revision;
        batch
    }
}

#[tonic::async_trait]
impl Watch for SqliteWatch {
    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.behind.pop_front() {
                return Ok(self.hand_out(batch));
            }
            if self.late {
                self.read_log().await?;
                continue;
            }
            match self.commits.recv().await {
                Ok(batch) if batch.revision <= self.after => {}
                Ok(batch) if batch.revision.0 == self.after.0 + 1 => {
                    return Ok(self.hand_out(batch));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => self.late = true,
                Err(RecvError::Closed) => return Err(StoreError::Closed.into()),
            }
        }
    }
}
