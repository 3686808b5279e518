//! The routes under `/agent/v1`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use nexplane_agent::key::receipt_is_authentic;
use nexplane_core::host::event::Certificate;
use nexplane_core::id::{HostId, JobId};
use nexplane_core::job::{
    Distrusted, EnrollRequest, EnrollResponse, JobEvent, JobResult, PollRequest, PollResponse,
    Receipt, ReleaseOffer, RenewRequest, RenewResponse, SignedReceipt, TimeResponse,
};
use nexplane_core::refusal::{self, Cause};
use nexplane_core::time::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use tower_http::catch_panic::CatchPanicLayer;

use super::authority::{AgentCertificate, RequestedKey};
use super::job::{self, Chained, Outcome};
use super::listener::Caller;
use super::presence::{Held, Slot, TwoUsers};
use super::tls::Peer;
use super::token::{self, TokenError};
use super::{Enrolled, NewHost, RegistryError, Shared, Standing};
use crate::problem::{ApiError, ApiResult};

/// Largest body: a receipt with the facts of a large machine.
const BODY: usize = 8 * 1024 * 1024;
/// Largest body of an enrolment or a renewal.
const SMALL_BODY: usize = 64 * 1024;
/// Longest time that a poll is held.
const LONGEST_WAIT_S: u32 = 50;
/// Agents come back after this long when the gateway stops, and then a thousand in a second.
const RETURN_AFTER: Duration = Duration::from_secs(2);
const RETURNS: Duration = Duration::from_millis(1);
/// Renewal is due after half of a certificate's life.
const RENEW_AFTER_S: i64 = super::authority::AGENT_CERTIFICATE_S / 2;
/// Most characters that are kept of what an agent says of a refusal.
const DETAIL: usize = 300;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/agent/v1/enroll", post(enroll))
        .route("/agent/v1/renew", post(renew))
        .route("/agent/v1/poll", post(poll))
        .route("/agent/v1/jobs/{id}/events", post(event))
        .route("/agent/v1/time", get(time))
        .route("/agent/v1/releases/{version}/{target}", get(offer))
        .route("/agent/v1/releases/{version}/{target}/program", get(program))
        .fallback(async || ApiError::not_found("page"))
        .layer(CatchPanicLayer::new())
        .with_state(shared)
}

type Shares = State<Arc<Shared>>;

/// `POST /agent/v1/enroll`: the one route without a certificate.
async fn enroll(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<EnrollResponse>> {
    let request: EnrollRequest = read(&headers, body, SMALL_BODY).await?;
    let refused = |host, cause| shared.refusals.caller(host, caller.source, cause);
    let key =
        requested_key(&request.csr_pem).inspect_err(|_| refused(None, Cause::RequestInvalid))?;
    let pool = &shared.pool;
    let host = token::redeem(pool, &request.token, &request.hostname, &key.hash)
        .await
        .inspect_err(|error| {
            if let Some((host, cause)) = error.refusal() {
                refused(host, cause);
            }
        })?;
    let now = now();
    let issued = shared.authority.certify_agent(host, &key, now).map_err(ApiError::internal)?;
    let certificate = certificate(&key, &issued);
    let enrolled = shared
        .hosts
        .enroll(NewHost {
            host,
            hostname: request.hostname,
            agent_version: request.agent_version,
            policy_hash: request.policy_hash,
            certificate: certificate.clone(),
        })
        .await;
    let name = match enrolled {
        Ok(Enrolled { name }) => name,
        Err(RegistryError::AlreadyEnrolled { name }) => {
            // The same key again: its first answer was lost.
            shared.hosts.renewed(host, certificate).await?;
            name
        }
        Err(error @ RegistryError::Rejected { .. }) => {
            token::release(pool, &request.token, &key.hash).await?;
            return Err(error.into());
        }
        Err(error @ RegistryError::Unavailable(_)) => return Err(error.into()),
    };
    if !remember_key(pool, host, &key, &issued).await? {
        refused(Some(host), Cause::KeyOfAnother);
        return Err(key_of_another());
    }
    if key.asks_for_more {
        refused(Some(host), Cause::NamesRequested);
    }
    tracing::info!(host.id = %host, name, "Host enrolled");
    Ok(Json(EnrollResponse {
        host,
        name,
        installation: shared.authority.installation.clone(),
        certificate_pem: issued.pem,
        dispatchers: shared.authority.dispatchers(),
        renew_after: now.plus_seconds(RENEW_AFTER_S),
    }))
}

/// `POST /agent/v1/renew`: also with a certificate that ended a short while ago.
async fn renew(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<RenewResponse>> {
    let peer = known(&shared, &caller)?;
    let request: RenewRequest = read(&headers, body, SMALL_BODY).await?;
    let refused = |cause| shared.refusals.caller(Some(peer.host), caller.source, cause);
    let key = requested_key(&request.csr_pem).inspect_err(|_| refused(Cause::RequestInvalid))?;
    if key.hash == peer.key_hash {
        return Err(ApiError::invalid_field("/csr_pem", "a renewal takes a fresh key"));
    }
    let now = now();
    let issued =
        shared.authority.certify_agent(peer.host, &key, now).map_err(ApiError::internal)?;
    if !remember_key(&shared.pool, peer.host, &key, &issued).await? {
        refused(Cause::KeyOfAnother);
        return Err(key_of_another());
    }
    if key.asks_for_more {
        refused(Cause::NamesRequested);
    }
    shared.hosts.renewed(peer.host, certificate(&key, &issued)).await?;
    Ok(Json(RenewResponse {
        certificate_pem: issued.pem,
        dispatchers: shared.authority.dispatchers(),
        renew_after: now.plus_seconds(RENEW_AFTER_S),
    }))
}

/// `GET /agent/v1/time`
async fn time(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
) -> ApiResult<Json<TimeResponse>> {
    valid(&shared, &caller)?;
    Ok(Json(TimeResponse { now: now() }))
}

/// `POST /agent/v1/poll`: held until there is an order or the time is up.
async fn poll(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<PollResponse>> {
    let peer = valid(&shared, &caller)?;
    let request: PollRequest = read(&headers, body, SMALL_BODY).await?;
    let (instance, number) = (request.instance, request.number);
    let held = match shared.presence.hold(peer.host, &peer.key_hash, instance, number) {
        Ok(held) => held,
        Err(TwoUsers) => {
            shared.refusals.caller(Some(peer.host), caller.source, Cause::KeyShared);
            return Err(quarantine(&shared, peer.host).await);
        }
    };
    // Whoever learned earlier that it may not act has not seen this poll.
    standing(&shared, peer).map_err(|no| no.counted(&shared, &caller))?;
    shared.came(peer.host, &held).await;
    for distrusted in request.distrusted {
        take_distrusted(&shared, peer.host, &held.slot, distrusted);
    }
    if held.slot.is_new_policy(request.policy_hash.as_ref())
        && let Err(error) =
            shared.hosts.policy_changed(peer.host, request.policy_hash.clone()).await
    {
        error.log(peer.host, "The change of the host's policy was not recorded");
    }
    if let Some(version) = agent_version(&headers)
        && held.slot.is_new_agent(version)
        && let Err(error) = shared.hosts.agent_changed(peer.host, version).await
    {
        held.slot.forget_agent();
        error.log(peer.host, "The version of the host's agent was not recorded");
    }
    let wait = Duration::from_secs(u64::from(request.wait_s.min(LONGEST_WAIT_S)));
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        if held.slot.may_have_orders(request.have) {
            let jobs = job::deliver(&shared.pool, peer.host, request.have).await?;
            if !jobs.is_empty() {
                return Ok(Json(PollResponse { jobs, next_delay_ms: 0 }));
            }
            held.slot.found_nothing(request.have);
        }
        if let Some(pause) = wait_for_order(&shared, peer, &held, deadline).await? {
            let next_delay_ms = u64::try_from(pause.as_millis()).unwrap_or(0);
            return Ok(Json(PollResponse { jobs: Vec::new(), next_delay_ms }));
        }
    }
}

/// The version that an agent says it is, in the words of every request of every agent.
fn agent_version(headers: &HeaderMap) -> Option<&str> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    let version = agent.strip_prefix("nexplane-agent/")?.split(' ').next()?;
    version.parse::<nexplane_agent::release::Version>().is_ok().then_some(version)
}

/// `GET /agent/v1/releases/{version}/{target}`
async fn offer(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    Path((version, target)): Path<(String, String)>,
) -> ApiResult<Json<ReleaseOffer>> {
    let peer = valid(&shared, &caller)?;
    shared.presence.slot(peer.host).touch();
    Ok(Json(shared.releases.offer(&version, &target).await?))
}

/// `GET /agent/v1/releases/{version}/{target}/program`
async fn program(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    Path((version, target)): Path<(String, String)>,
) -> ApiResult<Response> {
    let peer = valid(&shared, &caller)?;
    shared.presence.slot(peer.host).touch();
    Ok(shared.releases.program(peer.host, &version, &target).await?)
}

/// Takes note of what an agent did not take for an order of ours, when that is more than it was.
fn take_distrusted(shared: &Shared, host: HostId, slot: &Slot, distrusted: Distrusted) {
    if !distrusted.code.is_distrust() {
        return;
    }
    let (code, total) = (distrusted.code, distrusted.total);
    let more = slot.more_distrusted(code, total);
    if more > 0 && !shared.refusals.distrusted(host, distrusted, more) {
        slot.forget_distrusted(code);
    }
}

/// Waits for a wake-up. `None`: look for orders. Otherwise the poll is over, and the agent may come
/// back after the pause.
async fn wait_for_order(
    shared: &Shared,
    peer: &Peer,
    held: &Held,
    deadline: tokio::time::Instant,
) -> ApiResult<Option<Duration>> {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => Ok(Some(return_after(shared, peer.host))),
        () = held.ended.cancelled() => {
            // That it ends is no attack; what comes next is refused.
            standing(shared, peer).map_err(|no| no.error)?;
            // Another poll of this agent took its place.
            Ok(Some(Duration::ZERO))
        }
        () = held.slot.wake.notified() => {
            held.slot.was_woken();
            Ok(None)
        }
        () = tokio::time::sleep_until(deadline) => Ok(Some(Duration::ZERO)),
    }
}

/// When an agent comes back after the gateway has stopped: each at a moment of its own.
fn return_after(shared: &Shared, host: HostId) -> Duration {
    // The last bits of an id are random.
    let [.., high, low] = host.0.into_bytes();
    let agents = u32::try_from(shared.presence.known()).unwrap_or(u32::MAX).min(60_000);
    let turn = u32::from(u16::from_be_bytes([high, low])) % (agents + 1);
    RETURN_AFTER + RETURNS * turn
}

/// `POST /agent/v1/jobs/{id}/events`
async fn event(
    State(shared): Shares,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<StatusCode> {
    let peer = valid(&shared, &caller)?;
    let id: JobId = id.parse().map_err(|_| ApiError::not_found("job"))?;
    shared.presence.slot(peer.host).touch();
    match read(&headers, body, BODY).await? {
        JobEvent::Received { .. } => job::progress(&shared.pool, peer.host, id, false).await?,
        JobEvent::Intent { .. } => job::progress(&shared.pool, peer.host, id, true).await?,
        JobEvent::Result { receipt } => result(&shared, &caller, peer, id, receipt).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Checks a receipt and stores it.
async fn result(
    shared: &Shared,
    caller: &Caller,
    peer: &Peer,
    id: JobId,
    signed: SignedReceipt,
) -> ApiResult<()> {
    let refused = |cause| shared.refusals.caller(Some(peer.host), caller.source, cause);
    let invalid = |reason: &str| ApiError::invalid_field("/receipt", reason);
    if !signed_by_host(shared, peer, &signed).await? {
        refused(Cause::ReceiptForged);
        return Err(invalid("it was not signed by a key of this host"));
    }
    let receipt: Receipt =
        serde_json::from_str(&signed.payload).map_err(|_| invalid("it is not a receipt"))?;
    if receipt.host != peer.host || receipt.job != id || receipt.number == 0 {
        refused(Cause::ReceiptMisdirected);
        return Err(invalid("it is for another host or another job"));
    }
    match job::store_receipt(&shared.pool, peer.host, &receipt, &signed, shared.id).await? {
        Chained::Stored => {
            note_refusal(shared, peer.host, id, &receipt.result);
            let outcome = Outcome {
                job: id,
                result: receipt.result,
                undo_until: receipt.undo_until,
                receipt: signed,
            };
            shared.dispatcher.complete(outcome);
            Ok(())
        }
        Chained::Known => Ok(()),
        Chained::Forked => {
            refused(Cause::ReceiptForked);
            Err(quarantine(shared, peer.host).await)
        }
    }
}

/// Takes note that an agent refuses an order of ours. Of those that are not, it tells the number.
fn note_refusal(shared: &Shared, host: HostId, job: JobId, result: &JobResult) {
    if let JobResult::Refused { code, detail, .. } = result
        && !code.is_distrust()
    {
        shared.refusals.order(host, *code, job, refusal::plain(detail, DETAIL));
    }
}

/// By the key of this connection, or by an earlier one: a receipt may have waited for the network.
async fn signed_by_host(
    shared: &Shared,
    peer: &Peer,
    signed: &SignedReceipt,
) -> Result<bool, sqlx::Error> {
    if receipt_is_authentic(signed, &peer.public_key) {
        return Ok(true);
    }
    let earlier: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT public_key FROM nexplane.agent_certificates
         WHERE host_id = $1 ORDER BY issued_at DESC LIMIT 64",
    )
    .bind(peer.host.0)
    .fetch_all(&shared.pool)
    .await?;
    Ok(earlier.iter().any(|key| receipt_is_authentic(signed, key)))
}

/// Two live users of one key, or two histories: nobody gets anything any more until an admin has
/// looked.
async fn quarantine(shared: &Shared, host: HostId) -> ApiError {
    let reason = "two agents use the identity of this host, or its journal was lost";
    tracing::error!(host.id = %host, "Host locked: {reason}");
    shared.presence.deny(host);
    if let Err(error) = shared.hosts.lock(host, reason).await {
        error.log(host, "The lock of the host was not recorded");
    }
    locked()
}

fn locked() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "host.locked",
        "This host is locked. An admin has to look into it, revoke it, and enrol it again.",
    )
}

/// Why somebody is refused, and what they are told.
struct No {
    cause: Cause,
    error: ApiError,
}

impl No {
    /// The answer, once it is counted.
    fn counted(self, shared: &Shared, caller: &Caller) -> ApiError {
        let host = caller.peer.as_ref().map(|peer| peer.host);
        shared.refusals.caller(host, caller.source, self.cause);
        self.error
    }
}

/// A caller with a certificate that was valid a short while ago at least, and in good standing.
fn known<'a>(shared: &Shared, caller: &'a Caller) -> ApiResult<&'a Peer> {
    let nobody = || {
        let detail = "An agent's certificate is needed.";
        let error = ApiError::unauthenticated("agent.certificate_missing", detail);
        No { cause: Cause::CertificateMissing, error }.counted(shared, caller)
    };
    let peer = caller.peer.as_ref().ok_or_else(nobody)?;
    standing(shared, peer).map_err(|no| no.counted(shared, caller))?;
    Ok(peer)
}

/// A caller with a valid certificate and in good standing.
fn valid<'a>(shared: &Shared, caller: &'a Caller) -> ApiResult<&'a Peer> {
    let peer = known(shared, caller)?;
    if peer.not_after <= now() {
        let detail = "The agent's certificate has ended. It has to be renewed first.";
        let error = ApiError::unauthenticated("agent.certificate_expired", detail);
        return Err(No { cause: Cause::CertificateExpired, error }.counted(shared, caller));
    }
    Ok(peer)
}

fn standing(shared: &Shared, peer: &Peer) -> Result<(), Box<No>> {
    let no = |cause, error| Err(Box::new(No { cause, error }));
    let forbidden = |code, detail: &str| ApiError::new(StatusCode::FORBIDDEN, code, detail);
    match shared.hosts.standing(peer.host, &peer.key_hash) {
        Standing::Revoked => {
            no(Cause::HostRevoked, forbidden("host.revoked", "This host was revoked."))
        }
        Standing::Unknown => {
            no(Cause::HostUnknown, forbidden("host.unknown", "This host is not known here."))
        }
        Standing::Locked => no(Cause::HostLocked, locked()),
        Standing::Good if shared.presence.is_denied(peer.host) => no(Cause::HostLocked, locked()),
        Standing::Good => Ok(()),
    }
}

/// False when the key belongs to another host.
async fn remember_key(
    pool: &PgPool,
    host: HostId,
    key: &RequestedKey,
    issued: &AgentCertificate,
) -> Result<bool, sqlx::Error> {
    let stored = sqlx::query(
        "INSERT INTO nexplane.agent_certificates AS c (key_hash, host_id, public_key, not_after)
         VALUES ($1, $2, $3, to_timestamp($4))
         ON CONFLICT (key_hash) DO UPDATE SET not_after = excluded.not_after
         WHERE c.host_id = excluded.host_id",
    )
    .bind(&key.hash)
    .bind(host.0)
    .bind(&key.point)
    .bind(seconds(issued.not_after))
    .execute(pool)
    .await?;
    Ok(stored.rows_affected() > 0)
}

fn key_of_another() -> ApiError {
    ApiError::invalid_field("/csr_pem", "the key belongs to another host")
}

/// For `to_timestamp`; whole seconds, which a double holds exactly.
#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
fn seconds(at: Timestamp) -> f64 {
    (at.as_micros() / 1_000_000) as f64
}

fn certificate(key: &RequestedKey, issued: &AgentCertificate) -> Certificate {
    Certificate { key_hash: key.hash.clone(), not_after: issued.not_after }
}

fn requested_key(csr_pem: &str) -> ApiResult<RequestedKey> {
    RequestedKey::from_request(csr_pem)
        .map_err(|error| ApiError::invalid_field("/csr_pem", error.to_string()))
}

/// Reads a JSON body of at most `limit` bytes.
async fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, limit: usize) -> ApiResult<T> {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next() == Some("application/json"));
    if !is_json {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "request.media_type",
            "The body has to be application/json.",
        ));
    }
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|_| {
        let detail = format!("The body is larger than {limit} bytes, or broke off.");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request.too_large", detail)
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        if error.is_data() {
            ApiError::invalid_field("", error.to_string())
        } else {
            ApiError::malformed(error.to_string())
        }
    })
}

fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        match error {
            TokenError::Unknown => Self::unauthenticated("enrollment.token_unknown", detail),
            TokenError::Used(_) => Self::unauthenticated("enrollment.token_used", detail),
            TokenError::Expired => Self::unauthenticated("enrollment.token_expired", detail),
            TokenError::OtherHostname => {
                Self::new(StatusCode::FORBIDDEN, "enrollment.other_hostname", detail)
            }
            TokenError::Random => Self::internal(error),
            TokenError::Database(source) => source.into(),
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::AlreadyEnrolled { name } => {
                Self::conflict("host.already_enrolled", format!("'{name}' is enrolled already."))
            }
            RegistryError::Rejected { code, detail } => Self::conflict(code, detail),
            RegistryError::Unavailable(cause) => Self::unavailable(cause),
        }
    }
}
