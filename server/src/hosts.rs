//! Agents and the rest of the server: enrolments become events, orders become jobs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nexplane_connectors::host::HostJobs;

use crate::gateway::Gateway;
use crate::open::Opened;

/// The gateway, and the way to agents.
pub struct Hosts {
    pub gateway: Gateway,
    pub jobs: Arc<dyn HostJobs>,
    pub ca_path: PathBuf,
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosts").field("ca_path", &self.ca_path).finish_non_exhaustive()
    }
}

pub async fn start(
    _opened: &Opened,
    _listen: SocketAddr,
    _names: &[String],
) -> anyhow::Result<Hosts> {
    anyhow::bail!("no gateway yet")
}
