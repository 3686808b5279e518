//! What the workers, the waiting requests and the rebuilds of one process share.

use std::sync::Arc;
use std::time::Duration;

use nexplane_store::log::Log;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use crate::checkpoint::Claim;
use crate::projection::{Notice, Projection};

/// What can be tuned. The defaults are for production.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a lease lasts when nothing renews it; after a crash, how long nobody applies.
    /// Default 3 s.
    pub lease: Duration,
    /// How often it is renewed while there is nothing to apply. Default 1 s.
    pub heartbeat: Duration,
    /// Events in one transaction, at most. Default 500.
    pub batch: usize,
    /// Notices that a slow receiver may be behind before it loses some. Default 4,096.
    pub notices: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(3),
            heartbeat: Duration::from_secs(1),
            batch: 500,
            notices: 4096,
        }
    }
}

/// Shared by everything that runs in this process.
pub struct Shared {
    pub pool: PgPool,
    pub log: Log,
    /// Who this process is in the lease table.
    pub holder: Uuid,
    pub options: Options,
    pub notices: broadcast::Sender<Notice>,
    pub seats: Vec<Arc<Seat>>,
}

/// A projection and what this process knows of its progress.
pub struct Seat {
    pub projection: Arc<dyn Projection>,
    pub progress: watch::Sender<Progress>,
    /// Wakes a stalled worker of this process.
    pub again: Notify,
}

/// What this process knows of a read model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The next position that is not in it; may be behind the truth unless `here`.
    pub position: u64,
    /// The lease is this process's.
    pub here: bool,
    /// Known only while `here`.
    pub stalled: bool,
}

impl Seat {
    pub fn name(&self) -> &'static str {
        self.projection.name()
    }

    /// Positions never go back in what waiting requests see.
    pub fn report(&self, position: u64, here: bool, stalled: bool) {
        self.progress.send_if_modified(|progress| {
            let next = Progress { position: progress.position.max(position), here, stalled };
            let changed = *progress != next;
            *progress = next;
            changed
        });
    }
}

impl Shared {
    /// Tells browsers; it is no error that nobody listens.
    pub fn publish(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    pub fn has_listeners(&self) -> bool {
        self.notices.receiver_count() > 0
    }

    /// Tells browsers how far a projection is.
    pub fn publish_progress(&self, name: &str, position: u64, state: &str) {
        self.publish(Notice {
            topic: "projections".to_owned(),
            position: position.saturating_sub(1),
            changed: json!({ "name": name, "position": position, "state": state }),
        });
    }

    /// Gives a lease back, so that another process need not wait for its end. Best effort.
    pub async fn release(&self, claim: &Claim) {
        let released = async {
            let mut db = self.pool.acquire().await?;
            crate::checkpoint::release(&mut db, claim).await
        };
        if let Err(error) = released.await {
            tracing::info!(projection.name = claim.name, %error, "lease not given back, it will end");
        }
    }
}
