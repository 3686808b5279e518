//! The live database as evidence: one snapshot of it, read with no right to change anything.

use nexplane_core::proof::tile::WIDTH;
use nexplane_core::proof::tree::Hash;
use nexplane_store::log::evidence::{self, Record};
use nexplane_store::log::seal::SealError;
use sqlx::PgConnection;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::evidence::{Evidence, EvidenceError, Piece, Row};

/// Records that are older than this ought to be under a checkpoint.
const SEALED_WITHIN_S: i64 = 60;

/// A snapshot of a database. Reads block the thread that asks, so it must not be one of a runtime's
/// own.
pub struct DatabaseEvidence {
    runtime: Handle,
    connection: PgConnection,
    incarnation: Uuid,
    place: String,
    /// Under the newest checkpoint; all there are when there is none.
    to: u64,
    checkpoints: Vec<String>,
}

impl std::fmt::Debug for DatabaseEvidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseEvidence").field("to", &self.to).finish_non_exhaustive()
    }
}

impl DatabaseEvidence {
    /// Begins a snapshot on this connection. `place` is what the report calls it.
    pub async fn open(mut connection: PgConnection, place: String) -> Result<Self, EvidenceError> {
        let snapshot = evidence::begin(&mut connection).await?;
        let to = snapshot.sealed.unwrap_or(snapshot.next_position);
        Ok(Self {
            runtime: Handle::current(),
            connection,
            incarnation: snapshot.incarnation,
            place,
            to,
            checkpoints: snapshot.checkpoints,
        })
    }

    pub const fn incarnation(&self) -> Uuid {
        self.incarnation
    }
}

impl Evidence for DatabaseEvidence {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn range(&self) -> (u64, u64) {
        (0, self.to)
    }

    fn checkpoints(&mut self) -> Result<Vec<String>, EvidenceError> {
        Ok(self.checkpoints.clone())
    }

    fn peaks_before(&mut self, _: u64) -> Result<Option<Vec<Hash>>, EvidenceError> {
        Ok(None)
    }

    fn piece(&mut self, first: u64) -> Result<Piece, EvidenceError> {
        let count = (self.to - first).min(u64::from(WIDTH));
        let reading = evidence::records(&mut self.connection, first, first + count);
        let found = self.runtime.block_on(reading)?;
        let places = usize::try_from(count).unwrap_or_default();
        let mut piece = Piece {
            first,
            records: vec![None; places],
            claimed: vec![None; places],
            rows: vec![None; places],
            wrong: Vec::new(),
        };
        for Record { position, stream, category, version, kind, recorded_at_us, text, leaf } in
            found
        {
            let place = u64::try_from(position).ok().and_then(|p| p.checked_sub(first));
            let Some(place) = place.and_then(|place| usize::try_from(place).ok()) else { continue };
            let (Some(record), Some(claimed), Some(row)) = (
                piece.records.get_mut(place),
                piece.claimed.get_mut(place),
                piece.rows.get_mut(place),
            ) else {
                continue;
            };
            *record = Some(text);
            *claimed = leaf.try_into().ok();
            *row = Some(Row { position, stream, category, version, kind, recorded_at_us });
        }
        Ok(piece)
    }

    fn cross_check(&mut self) -> Result<Vec<String>, EvidenceError> {
        Ok(self.runtime.block_on(evidence::disagreements(&mut self.connection))?)
    }

    fn unsealed(&mut self) -> Result<Option<String>, EvidenceError> {
        let asking = evidence::unsealed(&mut self.connection, self.to, SEALED_WITHIN_S);
        let count = self.runtime.block_on(asking)?;
        Ok((count > 0).then(|| {
            format!("{count} records are older than {SEALED_WITHIN_S} s and under no checkpoint")
        }))
    }
}

impl From<SealError> for EvidenceError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Unavailable(error) => Self::Database(error),
            SealError::NotNewest { .. } | SealError::Forked { .. } => {
                Self::Database(sqlx::Error::Protocol(error.to_string()))
            }
        }
    }
}
