//! The way from the connector to the agents, which the server provides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{JobResult, Order, SignedReceipt};
use nexplane_core::time::Timestamp;

use crate::sdk::ConnectorError;

/// Signs orders, queues them for an agent and waits for the answer.
#[async_trait]
pub trait HostJobs: Send + Sync {
    /// Runs one order to its end. `key` is an idempotency key: the same key is the same job and
    /// answers the same result, however often it is asked.
    ///
    /// Errors, for orders that change something: `OutcomeUnknown` once the job may have reached the
    /// agent and no receipt came within `deadline`; any other advice only when it certainly
    /// did not and never will (the job was withdrawn).
    async fn run(
        &self,
        host: HostId,
        order: Order,
        deadline: Duration,
        key: &str,
    ) -> Result<SignedOutcome, ConnectorError>;

    /// The job that a key stands for; none when there never was one, or it was withdrawn.
    async fn find(&self, host: HostId, key: &str) -> Result<Option<JobId>, ConnectorError>;
}

/// The end of a job, with the agent's signature.
#[derive(Clone, Debug)]
pub struct SignedOutcome {
    pub job: JobId,
    pub result: JobResult,
    /// Of an effect: until when the agent keeps what it can be undone from; for good when absent.
    pub undo_until: Option<Timestamp>,
    pub receipt: SignedReceipt,
}

/// One agent, and the way to it.
#[derive(Clone)]
pub struct HostPort {
    pub id: HostId,
    /// The host's name: its external key as an asset.
    pub name: String,
    pub jobs: Arc<dyn HostJobs>,
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostPort")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
