//! Notices the appends of other servers: reads one row, while somebody watches.

use std::sync::Arc;

use sqlx::postgres::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant};

use super::LogOptions;
use super::appender::raise;
use super::read;

/// After the head has moved, polling stays at the busy pace this long.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// Runs until it is aborted. Errors are not reported here: whoever reads will meet them.
pub(super) async fn run(
    pool: PgPool,
    head: watch::Sender<u64>,
    watched: Arc<Notify>,
    options: LogOptions,
) {
    let mut seen = *head.borrow();
    let mut moved_at = Instant::now();
    loop {
        if head.receiver_count() == 0 {
            watched.notified().await;
            continue;
        }
        if let Ok(now) = read::head(&pool).await {
            raise(&head, now.next_position);
        }
        let next = *head.borrow();
        if next != seen {
            seen = next;
            moved_at = Instant::now();
        }
        let busy = moved_at.elapsed() < BUSY_FOR;
        tokio::time::sleep(if busy { options.poll_busy } else { options.poll_idle }).await;
    }
}
