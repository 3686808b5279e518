//! The agent's life: settle what is open, enrol if need be, then wait for orders, one long-poll after
//! the other, until it is told to stop.
//!
//! The control plane is asked, never trusted to be there: results wait in the journal until it has
//! them, and what it says about pace is followed. Reconnects back off with full jitter, so that ten
//! thousand agents do not return in the same second, and all of them soon.

use std::error::Error as StdError;
use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{Envelope, JobEvent, PollRequest, PollResponse, SignedReceipt};
use nexplane_core::time::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::backoff::{Backoff, millis, random_below};
use crate::client::{Client, ClientError};
use crate::config::{Config, ConfigError, Retention};
use crate::deadman::Limit;
use crate::identity::{Identity, IdentityError, hash_token};
use crate::journal::JournalError;
use crate::keep::Keep;
use crate::key::{AgentKey, KeyError};
use crate::line::FreshLine;
use crate::os;
use crate::policy;
use crate::runner::{Runner, RunnerError};
use crate::settle::{SettleError, Terms};
use crate::vital::{STEP, Vital};

/// Longest time that a poll is held.
const WAIT_S: u32 = 50;
/// Longest time that the first poll of a process is held.
const FIRST_WAIT_S: u32 = 1;
/// Longest pause between attempts to reach the control plane.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Longest pause after the control plane said no to this agent: a person has to act.
const REFUSED_PAUSE: Duration = Duration::from_mins(5);
/// A clock that is further off makes orders look expired.
const CLOCK_SKEW_S: i64 = 30;
/// Longest that a call to the control plane takes, with all that is between two calls.
const CALL: Duration = Duration::from_mins(1);
/// How long the result of the last order may take to be sent when the agent stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: Config,
    /// Everything that orders can reach lies beneath this directory.
    pub root: PathBuf,
    /// How long what it changes can be undone.
    pub retention: Retention,
    /// How long an effect that may cut the line may stand unconfirmed.
    pub dead_man: Limit,
    /// Needed the first time.
    pub enrolment: Option<Enrolment>,
}

/// What buys an identity.
#[derive(Clone)]
pub struct Enrolment {
    pub control_plane: String,
    pub ca_pem: String,
    pub token: String,
    /// Name to be known by; the machine's host name when absent.
    pub name: Option<String>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolment")
            .field("control_plane", &self.control_plane)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The agent is enrolled, has settled what was open, and has reached the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub host: HostId,
    pub name: String,
}

/// Why an agent ended, or never began.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("this agent is not enrolled: give --control-plane, --token and --ca once")]
    NotEnrolled,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Settle(#[from] SettleError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error("an operation broke off: restart the agent, which settles it")]
    Broken(#[source] tokio::task::JoinError),
}

/// Runs an agent until `shutdown` is done. The order that runs at that moment is finished first.
///
/// # Errors
/// When it cannot begin, or when the journal cannot be written: then what is open is settled at the
/// next start. An unreachable control plane is no error.
pub async fn run(
    settings: Settings,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), RunError> {
    run_as_service(settings, &Vital::default(), shutdown, ready).await
}

/// As [`run`], with whoever starts and stops services told how it goes.
///
/// # Errors
/// As [`run`].
pub async fn run_as_service(
    settings: Settings,
    vital: &Vital,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), RunError> {
    match live(settings, vital, shutdown, ready).await {
        Err(
            RunError::Runner(RunnerError::HandedOver)
            | RunError::Settle(SettleError::Runner(RunnerError::HandedOver)),
        ) => {
            vital.stopping();
            tracing::info!("Another program of the agent is in place; this one ends");
            Ok(())
        }
        ended => ended,
    }
}

async fn live(
    settings: Settings,
    vital: &Vital,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), RunError> {
    let _lock = settings.config.lock()?;
    let mut shutdown = pin!(shutdown);
    let keep = settings.config.keep();
    let mut started = match Identity::of(&settings.config)? {
        Some(identity) => Some(settle(&settings, identity, vital).await?),
        None => None,
    };
    if let Some(enrolment) = settings.enrolment.as_ref().filter(|enrolment| {
        started
            .as_ref()
            .is_none_or(|agent| agent.identity.token_hash != hash_token(&enrolment.token))
    }) {
        // What the earlier identity began is settled; it and its journal are set aside.
        drop(started.take());
        vital.within(STEP);
        let policy = policy::Source::File(settings.config.policy());
        let enrolled = tokio::select! {
            enrolled = enroll(&keep, &policy, enrolment) => enrolled?,
            () = &mut shutdown => return Ok(()),
        };
        started = Some(settle(&settings, enrolled, vital).await?);
    }
    let mut agent = started.ok_or(RunError::NotEnrolled)?;
    agent.vital = vital.clone();
    vital.settled();
    agent.live(shutdown, ready).await
}

/// What [`run`] does once it has settled what was open, for an agent that is put together otherwise:
/// the runner has been told to [recover](Runner::recover), and renewed identities go to `keep`.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    keep: Keep,
    identity: Identity,
    runner: Runner,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(Ready),
) -> Result<(), RunError> {
    Agent::new(keep, identity, runner)?.live(pin!(shutdown), ready).await
}

/// Enrols; an unreachable control plane is tried again, a refusal is final.
///
/// # Errors
/// The control plane's no, or what is kept cannot be written.
pub async fn enroll(
    keep: &Keep,
    policy: &policy::Source,
    enrolment: &Enrolment,
) -> Result<Identity, RunError> {
    let name = enrolment.name.clone().unwrap_or_else(os::host_name);
    let mut backoff = Backoff::default();
    loop {
        let Enrolment { control_plane, ca_pem, token, .. } = enrolment;
        match Identity::enroll(keep, control_plane, ca_pem, token, &name, policy.hash()).await {
            Ok(identity) => {
                tracing::info!(host.id = %identity.host, name = identity.name, "Enrolled");
                return Ok(identity);
            }
            Err(IdentityError::Refused {
                source:
                    ref cause @ (ClientError::Unreachable(_)
                    | ClientError::OutOfTime(_)
                    | ClientError::Malformed),
                ..
            }) => {
                let pause = backoff.next(LONGEST_PAUSE);
                tracing::warn!(
                    error = cause as &dyn StdError,
                    pause_ms = millis(pause),
                    "The control plane does not answer; enrolment is tried again"
                );
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens what is on disk and settles what an earlier process left open, on a thread of its own.
async fn settle(settings: &Settings, identity: Identity, vital: &Vital) -> Result<Agent, RunError> {
    let (settings, vital) = (settings.clone(), vital.clone());
    tokio::task::spawn_blocking(move || open(&settings, identity, &vital))
        .await
        .map_err(RunError::Broken)?
}

fn open(settings: &Settings, mut identity: Identity, vital: &Vital) -> Result<Agent, RunError> {
    let Settings { config, root, retention, dead_man, enrolment } = settings;
    // What is said at the start goes before what is in the file.
    if let Some(Enrolment { control_plane, ca_pem, .. }) = enrolment {
        identity = identity.at(control_plane, ca_pem);
    }
    let (retention, dead_man) = (*retention, *dead_man);
    let mut runner = Terms { config, root, retention, dead_man }.open(&identity, vital)?;
    runner.recover()?;
    Ok(Agent::new(config.keep(), identity, runner)?)
}

struct Agent {
    keep: Keep,
    identity: Identity,
    client: Client,
    /// Away while an order runs.
    runner: Option<Runner>,
    instance: Uuid,
    polls: u64,
    backoff: Backoff,
    /// When to renew the certificate, in this machine's time.
    next_renewal: Option<Timestamp>,
    vital: Vital,
}

impl Agent {
    fn new(keep: Keep, identity: Identity, mut runner: Runner) -> Result<Self, ClientError> {
        runner.set_line(Arc::new(FreshLine::new(&identity)));
        Ok(Self {
            keep,
            client: identity.client()?,
            identity,
            runner: Some(runner),
            instance: Uuid::new_v4(),
            polls: 0,
            backoff: Backoff::default(),
            next_renewal: None,
            vital: Vital::default(),
        })
    }

    async fn live(
        mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
        ready: impl FnOnce(Ready),
    ) -> Result<(), RunError> {
        tokio::select! {
            () = self.greet() => {}
            () = &mut shutdown => return Ok(()),
        }
        ready(Ready { host: self.identity.host, name: self.identity.name.clone() });
        self.serve(shutdown).await
    }

    /// Reaches the control plane for the first time, and compares clocks.
    async fn greet(&mut self) {
        loop {
            self.vital.within(CALL);
            // A certificate that ended while the machine was off opens nothing but its renewal.
            self.renew_when_due().await;
            match self.client.time().await {
                Ok(answer) => {
                    let skew_s = now().seconds_since(answer.now);
                    if skew_s.abs() > CLOCK_SKEW_S {
                        tracing::error!(
                            skew_s,
                            "This machine's clock is wrong; orders will be refused"
                        );
                    }
                    self.backoff = Backoff::default();
                    return;
                }
                Err(error) => {
                    let pause = self.pause_after(&error);
                    self.vital.within(pause + CALL);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn serve(
        &mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), RunError> {
        let vital = self.vital.clone();
        'life: loop {
            let answer = tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = vital.renewal_asked() => {
                    self.next_renewal = Some(now());
                    continue;
                }
                answer = self.report_then_poll() => answer?,
            };
            let pause = match answer {
                Ok(PollResponse { jobs, next_delay_ms }) => {
                    self.backoff = Backoff::default();
                    vital.served();
                    let told = Duration::from_millis(next_delay_ms).min(REFUSED_PAUSE);
                    if jobs.is_empty() {
                        self.compact()?;
                    }
                    let mut hopeless = !jobs.is_empty();
                    for envelope in jobs {
                        hopeless &= !self.work(envelope).await?;
                        if is_done(&mut shutdown).await {
                            break 'life;
                        }
                    }
                    if hopeless { told.max(self.backoff.next(LONGEST_PAUSE)) } else { told }
                }
                Err(error) => self.pause_after(&error),
            };
            vital.within(pause + CALL);
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                () = vital.renewal_asked() => self.next_renewal = Some(now()),
                () = tokio::time::sleep(pause) => {}
            }
        }
        vital.stopping();
        tracing::info!("Stopping");
        let farewell = tokio::time::timeout(FAREWELL, self.report());
        if !matches!(farewell.await, Ok(Ok(Ok(())))) {
            tracing::warn!("Some results are not sent yet; they will be at the next start");
        }
        Ok(())
    }

    async fn report_then_poll(&mut self) -> Result<Result<PollResponse, ClientError>, RunError> {
        self.vital.within(CALL);
        self.renew_when_due().await;
        if let Err(error) = self.report().await? {
            return Ok(Err(error));
        }
        self.polls += 1;
        // The first one is to show that it works; only later ones are to wait.
        let wait_s = if self.polls == 1 { FIRST_WAIT_S } else { WAIT_S };
        self.vital.within(Duration::from_secs(u64::from(wait_s)) + CALL);
        let request = PollRequest {
            wait_s,
            have: self.runner()?.journal().high_water(),
            instance: self.instance,
            number: self.polls,
            policy_hash: self.runner()?.policy_hash(),
            distrusted: self.runner()?.distrusted()?,
        };
        Ok(self.client.poll(&request).await)
    }

    /// Sends every result that the control plane does not have yet, in order.
    async fn report(&mut self) -> Result<Result<(), ClientError>, RunError> {
        for (job, number, receipt) in self.runner()?.journal().unreported()? {
            if let Err(error) = self.send_result(job, Some(number), receipt).await? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn send_result(
        &mut self,
        job: JobId,
        number: Option<u64>,
        receipt: SignedReceipt,
    ) -> Result<Result<(), ClientError>, RunError> {
        self.vital.within(CALL);
        if let Err(error) = self.client.report(job, &JobEvent::Result { receipt }).await {
            return Ok(Err(error));
        }
        if let Some(number) = number {
            self.runner()?.reported(job, number)?;
        }
        Ok(Ok(()))
    }

    /// Carries an order out and sends its result. False when there is none, or it was sent before.
    async fn work(&mut self, envelope: Envelope) -> Result<bool, RunError> {
        let Some((job, receipt)) = self.carry_out(envelope).await? else { return Ok(false) };
        if self.runner()?.journal().job(&job).is_some_and(|entry| entry.armed.is_some()) {
            // Connections from before the effect may have gone where nobody hears of it.
            self.client = self.identity.client()?;
        }
        // An order that was answered before: the same answer again.
        let again = self.runner()?.journal().unreported()?.is_empty();
        let sent =
            if again { self.send_result(job, None, receipt).await? } else { self.report().await? };
        if let Err(error) = sent {
            tracing::warn!(
                job.id = %job,
                error = &error as &dyn StdError,
                "A result was not sent; it waits in the journal"
            );
        }
        Ok(!again)
    }

    /// Runs an order on a thread of its own, while its progress is posted.
    async fn carry_out(
        &mut self,
        envelope: Envelope,
    ) -> Result<Option<(JobId, SignedReceipt)>, RunError> {
        self.vital.within(STEP);
        let mut runner = self.runner.take().ok_or(RunError::NotEnrolled)?;
        let (sender, mut receiver) = mpsc::channel::<(JobId, JobEvent)>(8);
        let client = self.client.clone();
        let posts = tokio::spawn(async move {
            while let Some((job, event)) = receiver.recv().await {
                if let Err(error) = client.report(job, &event).await {
                    tracing::debug!(job.id = %job, error = &error as &dyn StdError, "Progress not sent");
                }
            }
        });
        let (runner, answer) = tokio::task::spawn_blocking(move || {
            let answer = runner.handle(&envelope, &mut |job, event| {
                // Progress is a courtesy: when the line is slow it is left out.
                let _ = sender.try_send((job, event));
            });
            (runner, answer)
        })
        .await
        .map_err(RunError::Broken)?;
        self.runner = Some(runner);
        let answer = answer?;
        self.vital.within(CALL);
        // So that the control plane hears things in their order.
        let _ = tokio::time::timeout(FAREWELL, posts).await;
        Ok(answer)
    }

    fn compact(&mut self) -> Result<(), RunError> {
        if self.runner()?.compact()? {
            tracing::info!("The journal was compacted");
        }
        Ok(())
    }

    async fn renew_when_due(&mut self) {
        let due = *self.next_renewal.get_or_insert_with(|| jittered(&self.identity));
        if now() < due {
            return;
        }
        match self.identity.renew(&self.keep, &self.client).await {
            Ok(renewed) => match (renewed.client(), AgentKey::from_pem(&renewed.key_pem)) {
                (Ok(client), Ok(key)) => {
                    self.client = client;
                    if let Some(runner) = &mut self.runner {
                        runner.renew(key, renewed.dispatchers.clone());
                        runner.set_line(Arc::new(FreshLine::new(&renewed)));
                    }
                    self.identity = renewed;
                    self.next_renewal = None;
                    tracing::info!(renew_after = %self.identity.renew_after, "Certificate renewed");
                }
                (client, key) => {
                    let error = client.err().map(|e| e.to_string());
                    tracing::error!(
                        error = error.or_else(|| key.err().map(|e| e.to_string())),
                        "The renewed certificate is not usable; the earlier one stays in use"
                    );
                    self.next_renewal = Some(now().plus_seconds(600));
                }
            },
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn StdError,
                    "The certificate was not renewed; tried again in a few minutes"
                );
                let pause_s = 60 + i64::try_from(random_below(240)).unwrap_or(0);
                self.next_renewal = Some(now().plus_seconds(pause_s));
            }
        }
    }

    /// How long to wait after an error, which is logged here.
    fn pause_after(&mut self, error: &ClientError) -> Duration {
        let told = match error {
            ClientError::Refused { retry_after_s, .. } => retry_after_s.map(Duration::from_secs),
            ClientError::Address(_)
            | ClientError::Pem(_)
            | ClientError::Tls(_)
            | ClientError::Setup(_)
            | ClientError::Unreachable(_)
            | ClientError::OutOfTime(_)
            | ClientError::TooLong { .. }
            | ClientError::Write(_)
            | ClientError::Malformed => None,
        };
        let longest = if matches!(error.code(), Some("host.revoked" | "host.locked")) {
            REFUSED_PAUSE
        } else {
            LONGEST_PAUSE
        };
        self.vital.troubled(error);
        let pause = self.backoff.next(longest).max(told.unwrap_or_default().min(REFUSED_PAUSE));
        tracing::warn!(
            error = error as &dyn StdError,
            pause_ms = millis(pause),
            "The control plane does not serve this agent; tried again after a pause"
        );
        pause
    }

    fn runner(&mut self) -> Result<&mut Runner, RunError> {
        self.runner.as_mut().ok_or(RunError::NotEnrolled)
    }
}

/// Whether the future is done, without waiting for it.
async fn is_done(future: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
    tokio::select! {
        biased;
        () = future => true,
        () = std::future::ready(()) => false,
    }
}

/// The moment to renew: what the control plane said, up to a tenth of the rest of the
/// certificate's life later.
fn jittered(identity: &Identity) -> Timestamp {
    let rest_s = identity.not_after().map_or(0, |end| end.seconds_since(identity.renew_after));
    let tenth = u64::try_from(rest_s / 10).unwrap_or(0);
    let later = i64::try_from(random_below(tenth)).unwrap_or(0);
    identity.renew_after.plus_seconds(later)
}

fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}
