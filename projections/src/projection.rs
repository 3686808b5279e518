//! What a projection is.

use async_trait::async_trait;
use nexplane_core::event::{Event, Recorded, UnreadableEvent};
use nexplane_core::id::{Category, StreamId};
use nexplane_core::record::BadRecord;
use nexplane_store::log::Stored;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;

use crate::table::{Generation, Table};

/// Turns events into a read model.
///
/// The rows depend on the events and their order alone: the same log gives the same rows, however
/// its events are cut into batches. No clock, no randomness, no look at other tables.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// Stable; in the dashboard, in notices and on the command line.
    fn name(&self) -> &'static str;

    /// From 1. Another number means other tables: the read model is built anew.
    fn version(&self) -> u32;

    /// The categories whose events it is given; it never sees the others.
    fn reads(&self) -> &'static [Category];

    /// Its tables. No other projection writes them.
    fn tables(&self) -> &'static [&'static Table];

    /// Writes what the events mean into the tables of a generation. The events are in order and
    /// follow what was applied before; the transaction is committed together with the checkpoint.
    async fn apply(
        &self,
        db: &mut PgConnection,
        at: Generation,
        events: &[Recorded],
    ) -> Result<(), ApplyError>;

    /// What to tell browsers after these events were applied; reads the views.
    async fn notices(
        &self,
        db: &mut PgConnection,
        events: &[Recorded],
    ) -> Result<Vec<Notice>, sqlx::Error> {
        let (_, _) = (db, events);
        Ok(Vec::new())
    }
}

/// A message to browsers that a row changed. Not an event: it may be lost, and says only what to
/// read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// `changes`, `change:<id>`, `hosts`, `assets`, `connections` or `projections`.
    pub topic: String,
    /// The read model contains every event up to and including this position.
    pub position: u64,
    /// The row's id and what is worth knowing at once, such as its new state.
    pub changed: Value,
}

/// Why events could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("could not write the read model")]
    Database(#[from] sqlx::Error),
    /// A row that this projection wrote cannot be read back.
    #[error("row {id} of {table} cannot be read")]
    Row {
        table: &'static str,
        id: String,
        #[source]
        source: serde_json::Error,
    },
    /// A run's event before any event that says which change the run belongs to.
    #[error("{stream} belongs to no known change")]
    UnknownRun { stream: StreamId },
}

/// Why a record of the log could not be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error(transparent)]
    Event(#[from] UnreadableEvent),
}

/// Reads an event of the log.
pub fn decode(stored: &Stored) -> Result<Recorded, DecodeError> {
    let (header, event) = Event::decode(stored.decode()?)?;
    Ok(Recorded { position: stored.position, header, event })
}

/// Reads an event if it is of one of these categories. What is skipped is not looked at any closer,
/// so that an unreadable event stops only those projections that need it.
pub(crate) fn decode_if(
    stored: &Stored,
    reads: &[Category],
) -> Result<Option<Recorded>, DecodeError> {
    #[derive(Deserialize)]
    struct Peek {
        stream: StreamId,
    }
    let Peek { stream } = serde_json::from_str(&stored.record).map_err(BadRecord::from)?;
    if reads.contains(&stream.category) { decode(stored).map(Some) } else { Ok(None) }
}
