//! What stands in front of every handler: who asks, may they, is the request whole, was it made
//! before.
//!
//! Deny by default: a route that the table in [`super`] does not open to somebody is closed.

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request as HttpRequest, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{FieldError, Problem};
use nexplane_core::id::CommandId;
use nexplane_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Access;
use crate::app::App;
use crate::auth::{self, Caller, Credential};
use crate::problem::{ApiError, ApiResult};
use crate::stream::{self, Request};

/// The largest request body in bytes: a file of 1 MiB with room for JSON escapes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// How long a request body may take.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(30);
/// The longest `Idempotency-Key`.
const MAX_KEY: usize = 200;
/// Position of the last event of an answer.
pub const X_POSITION: &str = "x-position";
/// A read waits until read models contain this position.
pub const X_MIN_POSITION: &str = "x-min-position";

/// How long an answer waits for read models that are behind.
pub const WAIT_FOR_READ_MODELS: std::time::Duration = std::time::Duration::from_secs(2);

/// What the guard of a route knows about it.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub access: Access,
    /// The answer holds a secret and is not remembered for repetitions.
    pub secret_answer: bool,
}

/// The middleware of one route.
pub async fn guard(
    State((app, policy)): State<(App, Policy)>,
    request: HttpRequest<Body>,
    next: Next,
) -> Response {
    admit(&app, policy, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn admit(
    app: &App,
    policy: Policy,
    request: HttpRequest<Body>,
    next: Next,
) -> ApiResult<Response> {
    let now = stream::now();
    let (mut parts, body) = request.into_parts();
    let caller = admitted(app, policy, &parts.headers, now).await?;
    if matches!(parts.method, Method::GET | Method::HEAD) {
        if let Some(position) = min_position(&parts.headers)? {
            // Late is not wrong: the answer says which position it is of.
            let _ = app.projections.wait_for(position, WAIT_FOR_READ_MODELS).await;
        }
        if let Some(caller) = caller {
            parts.extensions.insert(caller);
        }
        let mut response = next.run(HttpRequest::from_parts(parts, body)).await;
        response
            .headers_mut()
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        return Ok(response);
    }

    same_origin(&parts, caller.as_ref())?;
    // Signing in and out is all that one can do in a replay.
    if let Some(guest) = &app.guest
        && !is_about_signing_in(parts.uri.path())
    {
        return Err(guest.read_only());
    }
    let body = whole(body).await?;
    // Whose request took its time may have lost a role, or the session, meanwhile.
    let (now, caller) = match caller {
        Some(_) if stream::now().seconds_since(now) > 0 => {
            let now = stream::now();
            (now, admitted(app, policy, &parts.headers, now).await?)
        }
        caller => (now, caller),
    };
    let Some(caller) = caller else {
        return Ok(next.run(HttpRequest::from_parts(parts, Body::from(body))).await);
    };
    let hash = request_hash(&parts, &body);
    let key = idempotency_key(&parts.headers)?;
    let mut ask = Request {
        hash,
        if_match: if_match(&parts.headers)?,
        seen: caller.seen,
        ..Request::once(caller.principal.clone(), now)
    };
    parts.extensions.insert(caller.clone());
    let Some(key) = key else {
        parts.extensions.insert(ask);
        return Ok(next.run(HttpRequest::from_parts(parts, Body::from(body))).await);
    };

    match remember(app, &caller, &key, hash, ask.command.0).await? {
        Remembered::Answered(response) => Ok(response),
        Remembered::New(seed) => {
            ask.command = CommandId(seed);
            // Who came first is not who is first to append. And a secret is handed over once, also to
            // the same request.
            ask.repeated = !policy.secret_answer;
            ask.correlation = seed;
            ask.causation = seed;
            parts.extensions.insert(ask);
            let response = next.run(HttpRequest::from_parts(parts, Body::from(body))).await;
            if policy.secret_answer || response.status().is_server_error() {
                return Ok(response);
            }
            keep(app, &caller, &key, response).await
        }
    }
}

/// Who asks, when the route is for them; nobody in particular when it is for all.
async fn admitted(
    app: &App,
    policy: Policy,
    headers: &HeaderMap,
    now: Timestamp,
) -> ApiResult<Option<Caller>> {
    let roles = match policy.access {
        Access::Public => return Ok(None),
        Access::SignedIn => None,
        Access::Roles(roles) => Some(roles),
    };
    let caller = app.people.caller(headers, now).await?;
    match roles {
        Some(roles) if !caller.has_any(roles) => {
            let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            Err(ApiError::denied(format!(
                "This needs the role {}. Ask an admin for it.",
                names.join(" or ")
            )))
        }
        Some(_) | None => Ok(Some(caller)),
    }
}

async fn whole(body: Body) -> ApiResult<Bytes> {
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await.map_err(|_| {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.too_slow",
            format!("The request body was not there within {} seconds.", BODY_TIME.as_secs()),
        )
    })?;
    read.map_err(|_| {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too_large",
            format!("The request body is larger than {MAX_BODY} bytes."),
        )
    })
}

fn is_about_signing_in(path: &str) -> bool {
    path.strip_prefix("/api/v1").unwrap_or(path).starts_with("/auth/")
}

/// A browser sends its cookie with requests that other sites make it send; they come with another
/// origin. Only requests whose proof is a cookie are concerned.
fn same_origin(parts: &Parts, caller: Option<&Caller>) -> ApiResult<()> {
    let by_cookie = caller
        .is_none_or(|caller| matches!(caller.credential, Credential::Session { cookie: true, .. }));
    if by_cookie && !origin_is_ours(&parts.headers) {
        return Err(ApiError::denied(
            "The request comes from another site. Use the dashboard itself, or an API token.",
        ));
    }
    Ok(())
}

/// True when the `Origin` is absent (not a browser) or names the host that was asked.
pub fn origin_is_ours(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return headers
            .get("sec-fetch-site")
            .is_none_or(|site| site == "same-origin" || site == "none");
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
}

fn request_hash(parts: &Parts, body: &Bytes) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(parts.method.as_str());
    hash.update([0]);
    hash.update(parts.uri.path());
    hash.update([0]);
    hash.update(body);
    hash.finalize().into()
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= MAX_KEY => Ok(Some(key.to_owned())),
        Ok(_) | Err(_) => Err(ApiError::malformed(format!(
            "An Idempotency-Key has 1 to {MAX_KEY} ASCII characters; a UUID is a good one."
        ))),
    }
}

/// The version in `If-Match: "7"`; `*` asks for nothing.
fn if_match(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse();
    number.map(Some).map_err(|_| {
        ApiError::malformed("If-Match takes the ETag of an earlier answer, such as \"7\".")
    })
}

fn min_position(headers: &HeaderMap) -> ApiResult<Option<u64>> {
    let Some(value) = headers.get(X_MIN_POSITION) else { return Ok(None) };
    value.to_str().ok().and_then(|v| v.parse().ok()).map(Some).ok_or_else(|| {
        ApiError::malformed("X-Min-Position takes the X-Position of an earlier answer.")
    })
}

enum Remembered {
    Answered(Response),
    /// No answer is known. The same request may be at work at this moment, or its first time was cut
    /// off by a crash.
    New(Uuid),
}

/// Looks a key up, and stores it with a fresh seed when it is new.
async fn remember(
    app: &App,
    caller: &Caller,
    key: &str,
    hash: [u8; 32],
    fresh: Uuid,
) -> ApiResult<Remembered> {
    sqlx::query(
        "INSERT INTO nexplane.requests (person_id, key, request_hash, seed)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(caller.person.0)
    .bind(key)
    .bind(hash.to_vec())
    .bind(fresh)
    .execute(&app.pool)
    .await?;
    let (known, seed, status, headers, body): (
        Vec<u8>,
        Uuid,
        Option<i16>,
        Option<serde_json::Value>,
        Option<String>,
    ) = sqlx::query_as(
        "SELECT request_hash, seed, status, headers, body FROM nexplane.requests
         WHERE person_id = $1 AND key = $2",
    )
    .bind(caller.person.0)
    .bind(key)
    .fetch_one(&app.pool)
    .await?;
    if known != hash {
        return Err(ApiError::conflict(
            "idempotency.key_reused",
            "This Idempotency-Key was used for another request. Use a new key for a new request.",
        ));
    }
    let (Some(status), Some(body)) = (status, body) else { return Ok(Remembered::New(seed)) };
    let status = u16::try_from(status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::OK);
    let problem = serde_json::from_str::<Problem>(&body).ok();
    let mut response = (status, body).into_response();
    // Which path it is about was not known yet when it was kept.
    if let Some(problem) = problem.filter(|_| status.is_client_error()) {
        response.extensions_mut().insert(problem);
    }
    if let Some(serde_json::Value::Object(kept)) = headers {
        for (name, value) in kept {
            let name = header::HeaderName::try_from(name);
            let value = value.as_str().map(HeaderValue::try_from);
            if let (Ok(name), Some(Ok(value))) = (name, value) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    Ok(Remembered::Answered(response))
}

/// Stores an answer for repetitions of the request.
async fn keep(app: &App, caller: &Caller, key: &str, response: Response) -> ApiResult<Response> {
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_BODY * 4).await.map_err(ApiError::internal)?;
    let kept: serde_json::Map<String, serde_json::Value> = parts
        .headers
        .iter()
        .filter(|(name, _)| **name != header::SET_COOKIE)
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.into())))
        .collect();
    sqlx::query(
        // Of two that were answered at the same moment, the one that did it says what happened.
        "UPDATE nexplane.requests SET status = $3, headers = $4, body = $5
         WHERE person_id = $1 AND key = $2 AND (status IS NULL OR status >= 400)",
    )
    .bind(caller.person.0)
    .bind(key)
    .bind(i16::try_from(parts.status.as_u16()).unwrap_or(500))
    .bind(serde_json::Value::Object(kept))
    .bind(String::from_utf8_lossy(&body).into_owned())
    .execute(&app.pool)
    .await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Tells a problem document which path it is about.
pub async fn name_the_path(request: HttpRequest<Body>, next: Next) -> Response {
    // Below a nest the path is cut; the original is what the client asked.
    let path = request
        .extensions()
        .get::<axum::extract::OriginalUri>()
        .map_or_else(|| request.uri().path().to_owned(), |uri| uri.0.path().to_owned());
    let mut response = next.run(request).await;
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    problem.instance = path;
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

/// A JSON body. Unknown fields and wrong types are 422 with a pointer; what is not JSON is 400.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: HttpRequest<Body>, app: &App) -> ApiResult<Self> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value.split(';').next().is_some_and(|t| t.trim() == "application/json")
            });
        let body = Bytes::from_request(request, app)
            .await
            .map_err(|_| ApiError::malformed("The request body could not be read."))?;
        if !json && !body.is_empty() {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "request.media_type",
                "Send the body as application/json.",
            ));
        }
        let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
        parse(&body).map(Self)
    }
}

/// NUL is a character of JSON and of URLs, and the only one that PostgreSQL's text does not have.
fn nul() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "validation.failed",
        "The request holds the character NUL, which cannot be stored. Leave it out.",
    )
}

/// Whether a JSON text has the escape of NUL; a NUL by itself is not JSON.
fn escapes_nul(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if rest.starts_with(b"u0000") {
            return true;
        }
        // What is escaped begins no escape.
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> ApiResult<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                // serde_json's text ends in a position, which says nothing in a form.
                let text = inner.to_string();
                let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
                ApiError::invalid(vec![FieldError::new(pointer, reason)])
            }
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => {
                ApiError::malformed(format!("The request body is not JSON: {inner}."))
            }
        }
    })?;
    deserializer
        .end()
        .map_err(|_| ApiError::malformed("There is more after the end of the JSON body."))?;
    if escapes_nul(body) {
        return Err(nul());
    }
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                pointer.push('/');
                pointer.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                pointer.push('/');
                pointer.push_str(key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            ApiError::unauthenticated("auth.invalid", "Sign in first: POST /api/v1/auth/login.")
        })
    }
}

impl FromRequestParts<App> for Request {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> ApiResult<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            ApiError::unauthenticated("auth.invalid", "Sign in first: POST /api/v1/auth/login.")
        })
    }
}

/// An id in the path; what is not one is not found.
#[derive(Debug)]
pub struct Id<T>(pub T);

impl<T: From<Uuid> + Send> FromRequestParts<App> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let axum::extract::Path(text) =
            axum::extract::Path::<String>::from_request_parts(parts, app)
                .await
                .map_err(|_| ApiError::not_found("page"))?;
        let id: Uuid = text.parse().map_err(|_| ApiError::not_found("id"))?;
        Ok(Self(id.into()))
    }
}

/// Query parameters; unknown ones are refused.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(nul());
        }
        match axum::extract::Query::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                let text = error.body_text();
                let reason = text.split(": ").skip(1).collect::<Vec<_>>().join(": ");
                Err(ApiError::invalid_field("", format!("query: {reason}")))
            }
        }
    }
}

/// A JSON answer with its version and position in the headers.
pub fn answer<T: Serialize>(
    status: StatusCode,
    body: &T,
    version: u64,
    position: Option<u64>,
) -> Response {
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::try_from(format!("\"{version}\"")) {
        headers.insert(header::ETAG, etag);
    }
    placed(response, position)
}

/// An answer that says up to where the log is to be read to see what it did.
pub fn placed(answer: impl IntoResponse, position: Option<u64>) -> Response {
    let mut response = answer.into_response();
    if let Some(position) = position {
        response.headers_mut().insert(X_POSITION, HeaderValue::from(position));
    }
    response
}

/// Until these read models say all that was written before; an error when they take too long, for
/// answers that must leave nothing out.
pub async fn catch_up(app: &App, names: &[&str]) -> ApiResult<()> {
    let head = app.log.head().await.map_err(ApiError::unavailable)?.next_position;
    if let Some(last) = head.checked_sub(1) {
        let waited = app.projections.wait_for_some(names, last, WAIT_FOR_READ_MODELS).await;
        waited.map_err(ApiError::behind)?;
    }
    Ok(())
}

/// Renews the cookie of a browser that is at work, before its token runs out.
pub async fn renew_cookie(
    State(app): State<App>,
    request: HttpRequest<Body>,
    next: Next,
) -> Response {
    let secure = is_secure(request.headers());
    let renew = match app.people.renewable(request.headers()) {
        Ok((claims, true)) => {
            let now = stream::now().as_micros() / 1_000_000;
            (now > claims.iat + auth::TOKEN_TTL_S / 3 && now < claims.exp).then_some(claims)
        }
        Ok((_, false)) | Err(_) => None,
    };
    let mut response = next.run(request).await;
    if let Some(mut claims) = renew
        && response.status() != StatusCode::UNAUTHORIZED
        && !response.headers().contains_key(header::SET_COOKIE)
    {
        claims.iat = stream::now().as_micros() / 1_000_000;
        claims.exp = claims.iat + auth::TOKEN_TTL_S;
        let cookie = app.people.cookie(&app.people.jwt().sign(&claims), secure);
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers_mut().insert(header::SET_COOKIE, value);
        }
    }
    response
}

/// Whether the browser came over HTTPS, as a proxy in front says.
pub fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https")
}
