//! Releases as the control plane offers them, over the agent's own connection.

use std::fs::File;
use std::future::Future;
use std::time::Duration;

use nexplane_core::job::ReleaseOffer;

use super::Releases;
use crate::backoff::random_below;
use crate::client::{Client, ClientError};
use crate::config::Config;
use crate::identity::Identity;
use crate::release::Version;
use crate::sentence;

/// Most times that a busy control plane is asked for a program: with its own pauses, some minutes.
const ATTEMPTS: u32 = 20;
/// Shortest and longest pause between them.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The control plane of an enrolled agent. The identity is read anew for each question, because it is renewed.
#[derive(Debug)]
pub struct GatewayReleases {
    config: Config,
}

impl GatewayReleases {
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    fn client(&self) -> Result<Client, String> {
        let identity = Identity::of(&self.config).map_err(|error| sentence::of(&error))?;
        let identity = identity.ok_or("this agent is not enrolled")?;
        identity.client().map_err(|error| sentence::of(&error))
    }
}

impl Releases for GatewayReleases {
    fn offer(&self, version: &Version, target: &str) -> Result<ReleaseOffer, String> {
        let client = self.client()?;
        on_its_own(async || client.release(version, target).await.map_err(|error| told(&error)))
    }

    fn program(
        &self,
        version: &Version,
        target: &str,
        limit: u64,
        to: &mut File,
    ) -> Result<(), String> {
        let client = self.client()?;
        on_its_own(async || {
            let mut attempts = ATTEMPTS;
            loop {
                let error = match client.program(version, target, limit, to).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                };
                attempts -= 1;
                // Others are served; nothing was written yet.
                let ClientError::Refused { status: 503, retry_after_s, .. } = error else {
                    return Err(told(&error));
                };
                if attempts == 0 {
                    return Err(told(&error));
                }
                let asked = Duration::from_secs(retry_after_s.unwrap_or_default());
                let jitter = Duration::from_millis(random_below(5000));
                tokio::time::sleep(asked.clamp(PAUSE, LONGEST_PAUSE) + jitter).await;
            }
        })
    }
}

fn told(error: &ClientError) -> String {
    match error {
        ClientError::Refused { detail, .. } => detail.clone(),
        ClientError::Address(_)
        | ClientError::Pem(_)
        | ClientError::Tls(_)
        | ClientError::Setup(_)
        | ClientError::Unreachable(_)
        | ClientError::OutOfTime(_)
        | ClientError::TooLong { .. }
        | ClientError::Write(_)
        | ClientError::Malformed => sentence::of(error),
    }
}

/// On a thread with a runtime of its own: whoever asks may be in the middle of another one.
fn on_its_own<T: Send, F>(work: impl FnOnce() -> F + Send) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            runtime.block_on(work())
        });
        asked.join().unwrap_or_else(|_| Err("asking the control plane went wrong".to_owned()))
    })
}
