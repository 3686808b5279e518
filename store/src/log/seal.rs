//! Tiles and checkpoints: where the sealer puts them and where everybody else finds them.
//!
//! What is promised: a checkpoint and the full tiles under it become visible at once; a checkpoint
//! follows the one that its author believed to be the newest, or is refused; nothing here is ever
//! changed. What is not: that any of it is true. Whoever wants to know verifies the signature, and
//! proofs lead from a record to the signed root or they do not.
//!
//! Deliberately absent: keys and signing, and deciding when to seal (the server's sealer).

use std::collections::HashMap;

use nexplane_core::proof::tile::{self, Tile, Unread, WIDTH};
use nexplane_core::proof::tree::{Hash, Node};
use nexplane_core::time::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use uuid::Uuid;

/// Key of the lock that lets one checkpoint after the other in: the first eight bytes of
/// SHA-256("nexplane seal").
const LOCK: i64 = 0x2c1a_94d0_77e3_5b61;

/// A signed root of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// How many events are under the root.
    pub size: u64,
    pub root: Hash,
    /// Text, the log's signature, and the cosignatures that have come in so far.
    pub note: String,
}

/// A full tile, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    pub level: u8,
    pub index: u64,
    pub hashes: Vec<Hash>,
    /// [`tile::parent`] of the hashes.
    pub root: Hash,
}

/// Why a checkpoint was not stored, or something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Somebody else seals this log, or this sealer's memory is not the newest.
    #[error("the newest checkpoint has size {found:?}, not {expected:?}")]
    NotNewest { expected: Option<u64>, found: Option<u64> },
    /// There is another checkpoint of this size.
    #[error("there is another checkpoint of size {size}")]
    Forked { size: u64 },
    #[error("could not read or write checkpoints")]
    Unavailable(#[from] sqlx::Error),
}

/// The seals of one incarnation of the log.
#[derive(Clone, Debug)]
pub struct Seals {
    pool: PgPool,
    incarnation: Uuid,
}

impl Seals {
    pub const fn new(pool: PgPool, incarnation: Uuid) -> Self {
        Self { pool, incarnation }
    }

    pub const fn incarnation(&self) -> Uuid {
        self.incarnation
    }

    /// The newest checkpoint.
    pub async fn newest(&self) -> Result<Option<Sealed>, SealError> {
        Ok(self.list_where(0, i64::MAX, true, 1).await?.pop())
    }

    /// Size of the newest checkpoint, and when it was stored.
    pub async fn last(&self) -> Result<Option<(u64, Timestamp)>, SealError> {
        let row: Option<(i64, i64)> = sqlx::query_as(
            "SELECT size, (extract(epoch FROM sealed_at) * 1000000)::bigint \
             FROM nexplane.log_checkpoints WHERE incarnation = $1 ORDER BY size DESC LIMIT 1",
        )
        .bind(self.incarnation)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(size, at)| (size.unsigned_abs(), Timestamp::from_micros(at))))
    }

    /// The newest checkpoint that each witness has cosigned, as name, size and moment; of the last 1,000
    /// cosignatures, by name.
    pub async fn witnessed(&self) -> Result<Vec<(String, u64, Timestamp)>, SealError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT DISTINCT ON (witness) witness, size, \
                 (extract(epoch FROM received_at) * 1000000)::bigint \
             FROM (SELECT witness, size, received_at FROM nexplane.log_cosignatures \
                   WHERE incarnation = $1 ORDER BY size DESC LIMIT 1000) last \
             ORDER BY witness, size DESC",
        )
        .bind(self.incarnation)
        .fetch_all(&self.pool)
        .await?;
        let newest = |(name, size, at): (String, i64, i64)| {
            (name, size.unsigned_abs(), Timestamp::from_micros(at))
        };
        Ok(rows.into_iter().map(newest).collect())
    }

    /// The smallest checkpoint with more than `position` events: the first one that covers it.
    pub async fn covering(&self, position: u64) -> Result<Option<Sealed>, SealError> {
        Ok(self.list(position + 1, 1).await?.pop())
    }

    /// Checkpoints of at least this size, smallest first, at most `limit`.
    pub async fn list(&self, from_size: u64, limit: i64) -> Result<Vec<Sealed>, SealError> {
        self.list_where(bigint(from_size), i64::MAX, false, limit).await
    }

    async fn list_where(
        &self,
        from: i64,
        to: i64,
        newest_first: bool,
        limit: i64,
    ) -> Result<Vec<Sealed>, SealError> {
        // In an order that the primary key has: a log has a checkpoint for every second in which it grew.
        let rows: Vec<(i64, Vec<u8>, String, Option<String>)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT c.size, c.root, c.note, \
                 (SELECT string_agg(s.line, '' ORDER BY s.witness) FROM nexplane.log_cosignatures s \
                  WHERE s.incarnation = c.incarnation AND s.size = c.size) \
             FROM nexplane.log_checkpoints c \
             WHERE c.incarnation = $1 AND c.size >= $2 AND c.size <= $3 \
             ORDER BY c.size {} LIMIT $4",
            if newest_first { "DESC" } else { "ASC" }
        )))
        .bind(self.incarnation)
        .bind(from)
        .bind(to)
        .bind(limit)
        .persistent(false)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(size, root, note, cosignatures)| {
                Ok(Sealed {
                    size: size.unsigned_abs(),
                    root: hash(&root)?,
                    note: note + &cosignatures.unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Stores a checkpoint with the tiles that its tree completes. `after` is the size of the newest
    /// checkpoint that the caller knows. The same checkpoint once more has no effect.
    pub async fn put(
        &self,
        sealed: &Sealed,
        after: Option<u64>,
        tiles: &[FullTile],
    ) -> Result<(), SealError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .execute(&mut *transaction)
            .await?;
        let newest: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT size, root FROM nexplane.log_checkpoints \
             WHERE incarnation = $1 ORDER BY size DESC LIMIT 1",
        )
        .bind(self.incarnation)
        .fetch_optional(&mut *transaction)
        .await?;
        let found = newest.as_ref().map(|(size, _)| size.unsigned_abs());
        if found == Some(sealed.size) {
            let same = newest.is_some_and(|(_, root)| root == sealed.root);
            return if same { Ok(()) } else { Err(SealError::Forked { size: sealed.size }) };
        }
        if found != after {
            return Err(SealError::NotNewest { expected: after, found });
        }
        let column = |of: fn(&FullTile) -> i64| tiles.iter().map(of).collect::<Vec<_>>();
        sqlx::query(
            "INSERT INTO nexplane.log_tiles (incarnation, level, index, hashes, root) \
             SELECT $1, level, index, hashes, root \
             FROM unnest($2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[]) \
                 t (level, index, hashes, root)",
        )
        .bind(self.incarnation)
        .bind(column(|tile| i64::from(tile.level)))
        .bind(column(|tile| bigint(tile.index)))
        .bind(tiles.iter().map(|tile| tile.hashes.concat()).collect::<Vec<_>>())
        .bind(tiles.iter().map(|tile| tile.root.to_vec()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO nexplane.log_checkpoints (incarnation, size, root, note) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(self.incarnation)
        .bind(bigint(sealed.size))
        .bind(sealed.root.to_vec())
        .bind(&sealed.note)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Keeps the signature line of a witness, the first one it gives for a checkpoint.
    pub async fn add_cosignature(
        &self,
        size: u64,
        witness: &str,
        line: &str,
    ) -> Result<(), SealError> {
        sqlx::query(
            "INSERT INTO nexplane.log_cosignatures (incarnation, size, witness, line) \
             VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(self.incarnation)
        .bind(bigint(size))
        .bind(witness)
        .bind(line)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The bytes of a tile. `None` when the log has not come so far. The caller sees to it that the
    /// tile is under a checkpoint.
    pub async fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, SealError> {
        let first = tile.index() * u64::from(WIDTH);
        let count = i64::from(tile.width());
        let hashes: Vec<Vec<u8>> = if tile.is_full() {
            return Ok(sqlx::query_scalar(
                "SELECT hashes FROM nexplane.log_tiles \
                 WHERE incarnation = $1 AND level = $2 AND index = $3",
            )
            .bind(self.incarnation)
            .bind(i16::from(tile.level()))
            .bind(bigint(tile.index()))
            .fetch_optional(&self.pool)
            .await?);
        } else if tile.level() == 0 {
            sqlx::query_scalar(
                "SELECT leaf_hash FROM nexplane.log_events \
                 WHERE position >= $1 AND position < $1 + $2 ORDER BY position",
            )
            .bind(bigint(first))
            .bind(count)
            .persistent(false)
            .fetch_all(&self.pool)
            .await?
        } else {
            sqlx::query_scalar(
                "SELECT root FROM nexplane.log_tiles WHERE incarnation = $1 AND level = $2 \
                 AND index >= $3 AND index < $3 + $4 ORDER BY index",
            )
            .bind(self.incarnation)
            .bind(i16::from(tile.level()) - 1)
            .bind(bigint(first))
            .bind(count)
            .persistent(false)
            .fetch_all(&self.pool)
            .await?
        };
        let bytes = hashes.concat();
        Ok((bytes.len() == tile.byte_len()).then_some(bytes))
    }

    /// The hashes of these nodes of the tree with `size` events, for making a proof. `None` when a
    /// tile that holds one of them is not there.
    pub async fn nodes(
        &self,
        nodes: &[Node],
        size: u64,
    ) -> Result<Option<HashMap<Node, Hash>>, SealError> {
        let Some(needed) = tile::needed(nodes, size) else { return Ok(None) };
        let mut tiles = HashMap::new();
        for tile in needed {
            let Some(bytes) = self.tile(tile).await? else { return Ok(None) };
            tiles.insert(tile, bytes);
        }
        let mut read = tile::reader(size, |tile| tiles.get(&tile).ok_or(()));
        let hashes: Result<HashMap<_, _>, Unread<()>> =
            nodes.iter().map(|node| Ok((*node, read(*node)?))).collect();
        Ok(hashes.ok())
    }
}

fn hash(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| sqlx::Error::Decode("a hash that has not 32 bytes".into()))
}

/// No size is beyond what PostgreSQL can count.
fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
