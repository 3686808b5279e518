//! Agents that come: where they are is noted for all that came in the meantime at once, and with it
//! is looked up for whom of them there are orders. When ten thousand return to a server that was
//! restarted, the database is asked some hundred times instead of thirty thousand.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use nexplane_core::id::HostId;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Hosts that are noted at once, at most.
const AT_ONCE: usize = 500;

/// True when there may be orders for the host.
type Answer = Result<bool, Arc<sqlx::Error>>;

struct Arrival {
    host: HostId,
    answer: oneshot::Sender<Answer>,
}

/// Where arrivals are told.
#[derive(Clone)]
pub struct Arrivals(mpsc::UnboundedSender<Arrival>);

/// Those that are not noted yet.
pub struct Queue(mpsc::UnboundedReceiver<Arrival>);

pub fn channel() -> (Arrivals, Queue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Arrivals(sender), Queue(receiver))
}

impl Arrivals {
    /// Notes that a host is here; true when there may be orders for it.
    pub async fn note(&self, host: HostId) -> Answer {
        let (answer, told) = oneshot::channel();
        let closed = || Err(Arc::new(sqlx::Error::PoolClosed));
        if self.0.send(Arrival { host, answer }).is_err() {
            return closed();
        }
        told.await.unwrap_or_else(|_| closed())
    }
}

impl Queue {
    /// Notes arrivals for as long as anybody tells of any.
    pub async fn run(mut self, pool: PgPool, gateway: Uuid) {
        let mut arrivals = Vec::new();
        while self.0.recv_many(&mut arrivals, AT_ONCE).await > 0 {
            // In one order, so that no two gateways wait for each other; each once.
            let mut answers: BTreeMap<HostId, Vec<oneshot::Sender<Answer>>> = BTreeMap::new();
            for Arrival { host, answer } in arrivals.drain(..) {
                answers.entry(host).or_default().push(answer);
            }
            let hosts: Vec<Uuid> = answers.keys().map(|host| host.0).collect();
            let noted = note(&pool, gateway, &hosts).await.map_err(Arc::new);
            for (host, waiting) in answers {
                for answer in waiting {
                    let noted = noted.as_ref().map(|ordered| ordered.contains(&host.0));
                    // A poll that broke off does not need to know.
                    let _ = answer.send(noted.map_err(Arc::clone));
                }
            }
        }
    }
}

/// The hosts of these for which there are orders.
async fn note(pool: &PgPool, gateway: Uuid, hosts: &[Uuid]) -> Result<HashSet<Uuid>, sqlx::Error> {
    let ordered: Vec<Uuid> = sqlx::query_scalar(
        "WITH here AS (
             INSERT INTO nexplane.agent_hosts AS h (host_id, gateway_id)
             SELECT host_id, $2 FROM unnest($1) AS host_id
             ON CONFLICT (host_id) DO UPDATE SET gateway_id = excluded.gateway_id)
         SELECT DISTINCT host_id FROM nexplane.agent_jobs
         WHERE host_id = ANY($1) AND finished_at IS NULL AND withdrawn_at IS NULL",
    )
    .bind(hosts)
    .bind(gateway)
    .fetch_all(pool)
    .await?;
    Ok(ordered.into_iter().collect())
}
