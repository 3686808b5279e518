//! Ordered delivery from a cursor on.

use nexplane_core::record::LeafHash;
use tokio::sync::watch;
use uuid::Uuid;

use super::read::{self, Page, ReadError, Stored};
use super::{Head, Log};

/// Events delivered at once, at most.
const BATCH: usize = 500;

/// How far a reader has come. Kept beside what the reader makes of the events, it says whether this
/// is still the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub incarnation: Uuid,
    /// The next position to read.
    pub position: u64,
    /// Leaf hash of the event before it, if one was read.
    pub last_leaf_hash: Option<LeafHash>,
}

impl Cursor {
    /// Before the first event.
    pub const fn start(incarnation: Uuid) -> Self {
        Self { incarnation, position: 0, last_leaf_hash: None }
    }

    /// After what is there now: only later events.
    pub const fn end(head: Head) -> Self {
        Self { incarnation: head.incarnation, position: head.next_position, last_leaf_hash: None }
    }
}

/// Delivers every event from a cursor on, in order and each once.
#[derive(Debug)]
pub struct Subscription {
    log: Log,
    cursor: Cursor,
    hint: watch::Receiver<u64>,
    closed: watch::Receiver<bool>,
    /// The event before the cursor was compared with the log.
    checked: bool,
}

impl Subscription {
    pub(super) fn new(log: Log, cursor: Cursor) -> Self {
        let hint = log.watch();
        let closed = log.0.closed.subscribe();
        Self { log, cursor, hint, closed, checked: false }
    }

    /// Where this subscription is: after the last event that it delivered.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Waits until there is something to deliver; returns at least one event and at most 500,
    /// without a gap to the ones before.
    ///
    /// Checks that the log is still the cursor's: its incarnation at each delivery, its end and the
    /// event before the cursor at the first call. After an error the subscription stands where it
    /// stood: [`ReadError::Unavailable`] may pass, [`ReadError::Closed`] and all others do not.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Stored>, ReadError> {
        if !self.checked {
            self.check().await?;
            self.checked = true;
        }
        loop {
            let hinted = *self.hint.borrow_and_update() > self.cursor.position;
            if hinted {
                let page = read::page(&self.log.0.pool, self.cursor.position, BATCH).await?;
                self.same_incarnation(page.incarnation)?;
                if let Some(last) = page.events.last() {
                    self.cursor.position = last.position + 1;
                    self.cursor.last_leaf_hash = Some(last.leaf_hash);
                    return Ok(page.events);
                }
            }
            // A hint that the database does not confirm is asked again after a pause: the reads
            // may go to a server that is behind.
            let pause = tokio::time::sleep(self.log.0.options.poll_busy);
            tokio::select! {
                changed = self.hint.changed() => changed.map_err(|_| ReadError::Closed)?,
                _ = self.closed.wait_for(|closed| *closed) => return Err(ReadError::Closed),
                () = pause, if hinted => {}
            }
        }
    }

    /// Compares the log with the cursor.
    async fn check(&self) -> Result<(), ReadError> {
        let Cursor { position, last_leaf_hash, incarnation: _ } = self.cursor;
        let head = read::head(&self.log.0.pool).await?;
        self.same_incarnation(head.incarnation)?;
        if position > head.next_position {
            return Err(ReadError::Behind { position, next_position: head.next_position });
        }
        let Some((before, expected)) = position.checked_sub(1).zip(last_leaf_hash) else {
            return Ok(());
        };
        let Page { events, .. } = read::page(&self.log.0.pool, before, 1).await?;
        if events.first().is_some_and(|event| event.leaf_hash == expected) {
            Ok(())
        } else {
            Err(ReadError::Rewritten { position: before })
        }
    }

    fn same_incarnation(&self, actual: Uuid) -> Result<(), ReadError> {
        let expected = self.cursor.incarnation;
        if actual == expected { Ok(()) } else { Err(ReadError::Incarnation { expected, actual }) }
    }
}
