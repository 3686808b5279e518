//! Who carries out a run right now.
//!
//! The row only says who is alive. What a worker may still write is decided by the epoch in the
//! log: a worker that lost its lease is fenced off there.

use std::time::{Duration, Instant};

use nexplane_core::id::RunId;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

/// A lease that is being renewed until it is dropped.
#[derive(Debug)]
pub struct Lease {
    pool: PgPool,
    run: RunId,
    worker: Uuid,
    /// Until when, by this process's monotonic clock, nobody else can have the lease.
    safe_until: watch::Receiver<Instant>,
    heartbeat: tokio::task::JoinHandle<()>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// Tries to take the lease; `None` while somebody else has it.
pub async fn take(
    pool: &PgPool,
    run: RunId,
    worker: Uuid,
    length: Duration,
) -> Result<Option<Lease>, sqlx::Error> {
    let asked = Instant::now();
    if !acquire(pool, run, worker, length).await? {
        return Ok(None);
    }
    // The margin covers a clock of the database that runs faster than ours.
    let local = length * 5 / 6;
    let (sender, safe_until) = watch::channel(asked + local);
    let heartbeat = tokio::spawn({
        let pool = pool.clone();
        async move {
            loop {
                tokio::time::sleep(length / 3).await;
                let asked = Instant::now();
                match renew(&pool, run, worker, length).await {
                    Ok(true) => {
                        sender.send_replace(asked + local);
                    }
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(run.id = %run, %error, "could not renew the lease of a run");
                    }
                }
            }
        }
    });
    Ok(Some(Lease { pool: pool.clone(), run, worker, safe_until, heartbeat }))
}

/// True when the lease was free, run out, or this worker's.
async fn acquire(
    pool: &PgPool,
    run: RunId,
    worker: Uuid,
    length: Duration,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO nexplane.run_leases AS l (run_id, worker, expires_at)
         VALUES ($1, $2, now() + $3 * interval '1 second')
         ON CONFLICT (run_id) DO UPDATE SET worker = $2, expires_at = excluded.expires_at
         WHERE l.worker = $2 OR l.expires_at < now()",
    )
    .bind(run.0)
    .bind(worker)
    .bind(length.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// False when the lease ran out or is another worker's: it does not come back by itself.
async fn renew(
    pool: &PgPool,
    run: RunId,
    worker: Uuid,
    length: Duration,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE nexplane.run_leases SET expires_at = now() + $3 * interval '1 second'
         WHERE run_id = $1 AND worker = $2 AND expires_at > now()",
    )
    .bind(run.0)
    .bind(worker)
    .bind(length.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes away every lease: for a server that knows it is the only one on its database.
pub async fn clear(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM nexplane.run_leases").execute(pool).await?;
    Ok(())
}

impl Lease {
    /// How long nobody else can have the lease; `None` when that is not certain any more.
    pub fn time_left(&self) -> Option<Duration> {
        self.safe_until.borrow().checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
    }

    /// Gives it back, so that nobody has to wait for it to run out.
    pub async fn release(self) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM nexplane.run_leases WHERE run_id = $1 AND worker = $2")
            .bind(self.run.0)
            .bind(self.worker)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
