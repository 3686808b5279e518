//! From an order to its receipt: sign, queue, wake, wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use nexplane_connectors::host::{HostJobs, SignedOutcome};
use nexplane_connectors::sdk::{Advice, ConnectorError, ErrorKind};
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::Order;
use nexplane_core::time::Timestamp;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::authority::Authority;
use super::job::{self, Ordered, Outcome, Request, Wake};
use super::presence::Presence;

/// Orders agents, and waits for what they say.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    authority: Arc<Authority>,
    presence: Arc<Presence>,
    gateway: Uuid,
    waiting: Mutex<HashMap<JobId, Waiting>>,
}

/// Those in this process who wait for one job.
struct Waiting {
    outcome: watch::Sender<Option<Outcome>>,
    count: usize,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("gateway", &self.inner.gateway).finish_non_exhaustive()
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The order was withdrawn before any agent had it: it certainly never happens.
    #[error("the host's agent is not connected; the order was withdrawn")]
    Offline,
    /// The agent may have the order. What came of it is not known yet; the same key asks again.
    #[error("the host's agent has the order and has not answered in time")]
    Timeout,
    /// The key stands for another order. Nothing was ordered.
    #[error("the idempotency key was used for another order")]
    KeyReused,
    /// It is not known whether the order was stored.
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

impl Dispatcher {
    pub(super) fn new(
        pool: PgPool,
        authority: Arc<Authority>,
        presence: Arc<Presence>,
        gateway: Uuid,
    ) -> Self {
        let waiting = Mutex::default();
        Self { inner: Arc::new(Inner { pool, authority, presence, gateway, waiting }) }
    }

    /// Orders the host's agent and waits for its receipt, `deadline` at the longest. `key` names the
    /// job: the same key never makes a second one, also after a restart and from another server.
    ///
    /// An agent that is not connected is waited for as long as its host counts as online: after a
    /// restart of this server, or of the one that it was connected to, until it had time to come back.
    ///
    /// # Errors
    /// See [`DispatchError`]; only [`DispatchError::Timeout`] and [`DispatchError::Database`] leave
    /// open whether the order reaches the agent.
    pub async fn run(
        &self,
        host: HostId,
        order: Order,
        deadline: Duration,
        key: &str,
    ) -> Result<Outcome, DispatchError> {
        let Inner { pool, authority, presence, gateway, .. } = self.inner.as_ref();
        let start = Instant::now();
        let now = Timestamp::new(jiff::Timestamp::now());
        let request = Request { host, order: &order, key };
        let job = match job::order(pool, authority, request, *gateway, now).await? {
            Ordered::Finished(outcome) => return Ok(*outcome),
            Ordered::KeyReused => return Err(DispatchError::KeyReused),
            Ordered::Open(job) => job,
        };
        let mut wait = self.wait_for(job);
        presence.wake(host);
        // It may have ended between the answer above and the registration.
        if let Some(outcome) = job::finished(pool, job).await? {
            return Ok(outcome);
        }
        let end = start + deadline;
        let mut patience = start;
        loop {
            patience = end.min(patience + presence.silence());
            tokio::select! {
                outcome = wait.outcome() => return Ok(outcome),
                () = sleep_until(patience) => {}
            }
            if patience >= end || presence.is_online(host) {
                break;
            }
            if !counts_as_online(pool, host).await? {
                if job::withdraw(pool, job).await? {
                    return Err(DispatchError::Offline);
                }
                break;
            }
        }
        tokio::select! {
            outcome = wait.outcome() => return Ok(outcome),
            () = sleep_until(end) => {}
        }
        if job::withdraw(pool, job).await? {
            return Err(DispatchError::Offline);
        }
        job::finished(pool, job).await?.ok_or(DispatchError::Timeout)
    }

    /// Gives an outcome to those who wait for it in this process.
    pub(super) fn complete(&self, outcome: Outcome) {
        if let Some(waiting) = lock(&self.inner.waiting).get(&outcome.job) {
            waiting.outcome.send_replace(Some(outcome));
        }
    }

    /// Hears the other gateways until `stop`. A lost connection is made again, and everything that
    /// could have been missed is looked up.
    pub(super) async fn listen(&self, stop: CancellationToken) {
        let heard = async {
            loop {
                if let Err(error) = self.listen_once().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "Wake-ups from other servers are lost; the connection is made again"
                    );
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        stop.run_until_cancelled(heard).await;
    }

    async fn listen_once(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.inner.pool).await?;
        listener.listen(job::CHANNEL).await?;
        self.look_everywhere().await?;
        loop {
            match listener.try_recv().await? {
                None => self.look_everywhere().await?,
                Some(notification) => {
                    let Some((wake, from)) = Wake::parse(notification.payload()) else { continue };
                    if from == self.inner.gateway {
                        continue;
                    }
                    match wake {
                        Wake::Order(host) => self.inner.presence.wake(host),
                        Wake::Deny(host) => self.inner.presence.deny(host),
                        Wake::Result(job) => self.look(job).await?,
                    }
                }
            }
        }
    }

    /// Looks up every outcome that somebody waits for, and lets every agent look for orders.
    async fn look_everywhere(&self) -> Result<(), sqlx::Error> {
        self.inner.presence.wake_all();
        let jobs: Vec<JobId> = lock(&self.inner.waiting).keys().copied().collect();
        for job in jobs {
            self.look(job).await?;
        }
        Ok(())
    }

    async fn look(&self, job: JobId) -> Result<(), sqlx::Error> {
        if !lock(&self.inner.waiting).contains_key(&job) {
            return Ok(());
        }
        if let Some(outcome) = job::finished(&self.inner.pool, job).await? {
            self.complete(outcome);
        }
        Ok(())
    }

    fn wait_for(&self, job: JobId) -> Wait {
        let mut map = lock(&self.inner.waiting);
        let waiting =
            map.entry(job).or_insert_with(|| Waiting { outcome: watch::channel(None).0, count: 0 });
        waiting.count += 1;
        Wait { dispatcher: self.clone(), job, receiver: waiting.outcome.subscribe() }
    }
}

/// One who waits for a job.
struct Wait {
    dispatcher: Dispatcher,
    job: JobId,
    receiver: watch::Receiver<Option<Outcome>>,
}

impl Wait {
    async fn outcome(&mut self) -> Outcome {
        loop {
            if let Some(outcome) = self.receiver.borrow_and_update().clone() {
                return outcome;
            }
            if self.receiver.changed().await.is_err() {
                // The sender lives as long as this entry; without it only the deadline is left.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut map = lock(&self.dispatcher.inner.waiting);
        if let Some(waiting) = map.get_mut(&self.job) {
            waiting.count -= 1;
            if waiting.count == 0 {
                map.remove(&self.job);
            }
        }
    }
}

/// Whether the host's agent is at a gateway, or was and its absence has not been told yet.
async fn counts_as_online(pool: &PgPool, host: HostId) -> sqlx::Result<bool> {
    let at: Option<Option<Uuid>> =
        sqlx::query_scalar("SELECT gateway_id FROM nexplane.agent_hosts WHERE host_id = $1")
            .bind(host.0)
            .fetch_optional(pool)
            .await?;
    Ok(at.flatten().is_some())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl HostJobs for Dispatcher {
    async fn run(
        &self,
        host: HostId,
        order: Order,
        deadline: Duration,
        key: &str,
    ) -> Result<SignedOutcome, ConnectorError> {
        let has_effect = order.has_effect();
        match Self::run(self, host, order, deadline, key).await {
            Ok(Outcome { job, result, undo_until, receipt }) => {
                Ok(SignedOutcome { job, result, undo_until, receipt })
            }
            Err(error) => {
                let (kind, advice) = match &error {
                    DispatchError::Offline => (ErrorKind::Unreachable, Advice::Later),
                    DispatchError::KeyReused => (ErrorKind::Invalid, Advice::Never),
                    DispatchError::Timeout if has_effect => {
                        (ErrorKind::Timeout, Advice::OutcomeUnknown)
                    }
                    DispatchError::Timeout => (ErrorKind::Timeout, Advice::Later),
                    DispatchError::Database(_) if has_effect => {
                        (ErrorKind::Unexpected, Advice::OutcomeUnknown)
                    }
                    DispatchError::Database(_) => (ErrorKind::Unexpected, Advice::Later),
                };
                Err(ConnectorError::new(kind, advice, error.to_string()).because(error))
            }
        }
    }

    async fn find(&self, host: HostId, key: &str) -> Result<Option<JobId>, ConnectorError> {
        job::find(&self.inner.pool, host, key).await.map_err(|error| {
            let message = "the database did not say which job that was";
            ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message).because(error)
        })
    }
}
