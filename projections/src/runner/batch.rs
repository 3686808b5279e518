//! Applying events: read model and checkpoint change in one transaction, or neither does.

use nexplane_core::event::Recorded;
use nexplane_core::id::Category;
use nexplane_core::record::LeafHash;
use nexplane_store::log::Stored;
use sqlx::PgPool;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::checkpoint::{self, Claim, Held};
use crate::projection::{ApplyError, Projection, decode_if};

/// Bytes of records applied in one transaction, at most, unless one event alone has more.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Contiguous events of the log, of which those that a projection reads are decoded.
#[derive(Debug)]
pub struct Batch {
    start: u64,
    /// One for each position.
    hashes: Vec<LeafHash>,
    pub events: Vec<Recorded>,
    /// The event after the last of `hashes`, if it cannot be read.
    broken: Option<Stall>,
}

/// An event that a projection cannot get past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    pub position: u64,
    /// With its causes.
    pub error: String,
}

/// Why applying ended without an answer about the events.
#[derive(Debug)]
pub enum Interrupted {
    /// The lease belongs to somebody else by now, or the checkpoint was moved.
    Stale,
    /// The database may work again later.
    Transient(sqlx::Error),
}

enum Failure {
    Interrupted(Interrupted),
    Refused(ApplyError),
}

/// Parts of a delivery that fit into one transaction each.
pub fn cut(mut stored: &[Stored], most: usize) -> Vec<&[Stored]> {
    let mut parts = Vec::new();
    while !stored.is_empty() {
        let mut bytes = 0;
        let fitting = stored
            .iter()
            .take(most.max(1))
            .take_while(|event| {
                bytes += event.record.len();
                bytes <= BATCH_BYTES
            })
            .count();
        let (part, rest) = stored.split_at(fitting.max(1));
        parts.push(part);
        stored = rest;
    }
    parts
}

impl Batch {
    /// Decodes events up to the first that cannot be.
    pub fn decode(stored: &[Stored], reads: &[Category]) -> Self {
        let start = stored.first().map_or(0, |event| event.position);
        let mut batch = Self {
            start,
            hashes: Vec::with_capacity(stored.len()),
            events: Vec::new(),
            broken: None,
        };
        for event in stored {
            match decode_if(event, reads) {
                Ok(decoded) => batch.events.extend(decoded),
                Err(error) => {
                    batch.broken = Some(Stall { position: event.position, error: chain(&error) });
                    break;
                }
            }
            batch.hashes.push(event.leaf_hash);
        }
        batch
    }

    /// The first `count` positions: the last one's hash (none when `count` is 0) and the events that
    /// are read. `None` when the batch is shorter.
    pub fn first(&self, count: u64) -> Option<(Option<LeafHash>, &[Recorded])> {
        let Some(last) = count.checked_sub(1) else { return Some((None, &[])) };
        let hash = *self.hashes.get(usize::try_from(last).ok()?)?;
        let end = self.start + count;
        let events = self.events.partition_point(|event| event.position < end);
        Some((Some(hash), self.events.get(..events)?))
    }
}

/// Applies a batch that begins where the claim is, and moves the claim along. `Some` when an event
/// stands in the way: everything before it is applied.
pub async fn apply(
    pool: &PgPool,
    projection: &dyn Projection,
    claim: &mut Claim,
    batch: &Batch,
) -> Result<Option<Stall>, Interrupted> {
    match commit(pool, projection, claim, &batch.hashes, &batch.events).await {
        Ok(()) => return Ok(batch.broken.clone()),
        Err(Failure::Interrupted(interrupted)) => return Err(interrupted),
        Err(Failure::Refused(_)) => {}
    }
    // One of them is the culprit: one by one, so that the checkpoint stops right before it.
    let mut events = batch.events.as_slice();
    for (position, hash) in (batch.start..).zip(&batch.hashes) {
        let (own, rest) =
            events.split_at(usize::from(events.first().is_some_and(|e| e.position == position)));
        events = rest;
        match commit(pool, projection, claim, std::slice::from_ref(hash), own).await {
            Ok(()) => {}
            Err(Failure::Interrupted(interrupted)) => return Err(interrupted),
            Err(Failure::Refused(error)) => {
                return Ok(Some(Stall { position, error: chain(&error) }));
            }
        }
    }
    Ok(batch.broken.clone())
}

/// One transaction. The checkpoint goes first: its row is locked until the commit, so the lease does
/// not change hands in between, unless this process stands still for longer than that.
async fn commit(
    pool: &PgPool,
    projection: &dyn Projection,
    claim: &mut Claim,
    hashes: &[LeafHash],
    events: &[Recorded],
) -> Result<(), Failure> {
    let Some(last) = hashes.last() else { return Ok(()) };
    let end = claim.cursor.position + u64::try_from(hashes.len()).unwrap_or(u64::MAX);
    let mut tx = pool.begin().await?;
    // A commit lost in a crash of the database takes its checkpoint along, so it need not be waited
    // for. Plans made while the tables were small would scan them when they have become large. A
    // process that is stopped in here would hold the row for as long as it is: PostgreSQL ends its
    // session with the lease.
    sqlx::query(
        "SELECT set_config('synchronous_commit', 'off', true), \
         set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true), \
         set_config('idle_in_transaction_session_timeout', $1, true)",
    )
    .bind(format!("{}ms", claim.ttl.as_millis().max(1)))
    .execute(&mut *tx)
    .await?;
    match checkpoint::advance(&mut tx, claim, end, last).await? {
        Held::Yes => {}
        Held::Lost => return Err(Failure::Interrupted(Interrupted::Stale)),
    }
    if !events.is_empty() {
        projection.apply(&mut tx, claim.at, events).await?;
    }
    tx.commit().await?;
    claim.cursor.position = end;
    claim.cursor.last_leaf_hash = Some(*last);
    Ok(())
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Database(error) => error.into(),
            ApplyError::Row { .. } | ApplyError::UnknownRun { .. } => Self::Refused(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if is_transient(&error) {
            Self::Interrupted(Interrupted::Transient(error))
        } else {
            Self::Refused(ApplyError::Database(error))
        }
    }
}

impl From<sqlx::Error> for Interrupted {
    fn from(error: sqlx::Error) -> Self {
        Self::Transient(error)
    }
}

/// Whether the same statement may succeed later: trouble with the connection or the server, not
/// with what was sent. Classes of SQLSTATE: PostgreSQL manual, appendix A. A fatal error ends the
/// session, whatever its code: a session that began on a full disk says `XX000`.
fn is_transient(error: &sqlx::Error) -> bool {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref());
    if database
        .map(PgDatabaseError::severity)
        .is_some_and(|severity| matches!(severity, PgSeverity::Fatal | PgSeverity::Panic))
    {
        return true;
    }
    if let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        // Connection, rollback (deadlock), resources, not in the right state (a lock that was not
        // to be had, a read-only standby), operator, system.
        return ["08", "25006", "40", "53", "55P03", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class));
    }
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

/// An error with its causes, as one text.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries repeat the cause's text in their own.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
