//! Calls of the REST API.
//!
//! Every mutation carries an `Idempotency-Key`, so that a call whose answer was lost can be sent
//! again with the same key and happens once. An expired token is renewed and the call repeated, once;
//! when the session itself is over, the page goes to the sign-in form. Deliberately absent: caching.

use std::cell::{Cell, RefCell};

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};
use gloo_net::http::{Method, RequestBuilder, Response};
use nexplane_core::api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use yew::Callback;

/// Everything lies below this path.
const ROOT: &str = "/api/v1";
/// The code of an answer that another token would change.
const EXPIRED: &str = "auth.expired";

type Renewal = Shared<LocalBoxFuture<'static, Result<(), ApiError>>>;

#[derive(Clone, Debug, PartialEq)]
pub enum ApiError {
    /// The server said no, and why.
    Refused(Box<Problem>),
    /// The server could not be reached.
    Unreachable,
    /// The server answered with something else than this dashboard understands.
    Unreadable { status: u16, what: String },
}

impl ApiError {
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreachable => None,
            Self::Unreadable { status, .. } => Some(*status),
        }
    }

    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Unreachable | Self::Unreadable { .. } => None,
        }
    }

    /// One sentence for people.
    pub fn detail(&self) -> String {
        match self {
            Self::Refused(problem) if problem.detail.is_empty() => problem.title.clone(),
            Self::Refused(problem) => problem.detail.clone(),
            Self::Unreachable => {
                "The server cannot be reached. Check your network, then try again.".to_owned()
            }
            Self::Unreadable { status, .. } => format!(
                "The server answered with status {status} in a form this page cannot read. Reload \
                 the page: the server may be newer than it."
            ),
        }
    }
}

/// An answer, and the position of the log up to which it is known to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    pub body: T,
    pub position: Option<u64>,
}

thread_local! {
    static SIGNED_OUT: RefCell<Callback<()>> = RefCell::new(Callback::noop());
    static POSITION: Cell<Option<u64>> = const { Cell::new(None) };
    static MISSED: Cell<bool> = const { Cell::new(false) };
    static RENEWAL: RefCell<Option<Renewal>> = const { RefCell::new(None) };
}

/// What to do when the session is over. There is one session per page, so there is one callback.
pub fn on_signed_out(callback: Callback<()>) {
    SIGNED_OUT.with_borrow_mut(|slot| *slot = callback);
}

/// The newest position that any answer has named.
pub fn newest_position() -> Option<u64> {
    POSITION.get()
}

/// Whether something could not be read since this was last asked, because no server answered.
pub fn take_missed() -> bool {
    MISSED.take()
}

pub async fn get<T: DeserializeOwned>(path: &str) -> Result<T, ApiError> {
    get_at(path, None).await
}

/// Reads what is at least as new as `position`, and as everything that this page has seen: nobody
/// should do something and then not find it in a list.
pub async fn get_at<T: DeserializeOwned>(path: &str, position: Option<u64>) -> Result<T, ApiError> {
    let position = position.max(POSITION.get()).map(|position| position.to_string());
    let headers: Vec<(&str, &str)> =
        position.iter().map(|position| ("X-Min-Position", position.as_str())).collect();
    let answer = async { read(send(Method::GET, path, &headers, None).await?).await }.await;
    if answer.as_ref().is_err_and(is_absence) {
        MISSED.set(true);
    }
    answer
}

/// Nobody answered, or somebody in between said that nobody does.
fn is_absence(error: &ApiError) -> bool {
    match error {
        ApiError::Unreachable => true,
        ApiError::Refused(_) | ApiError::Unreadable { .. } => {
            matches!(error.status(), Some(502..=504))
        }
    }
}

/// Reads what is plain text.
pub async fn text(path: &str) -> Result<String, ApiError> {
    let response = send(Method::GET, path, &[], None).await?;
    response.text().await.map_err(|_| ApiError::Unreachable)
}

pub async fn post<T: DeserializeOwned>(path: &str, body: &impl Serialize) -> Result<T, ApiError> {
    Ok(mutate(Method::POST, path, Some(body), None).await?.body)
}

/// Does something to a row only while it is still at `version`.
pub async fn post_at<T: DeserializeOwned>(
    path: &str,
    body: &impl Serialize,
    version: u64,
) -> Result<T, ApiError> {
    Ok(mutate(Method::POST, path, Some(body), Some(version)).await?.body)
}

/// A `POST` without a body.
pub async fn act<T: DeserializeOwned>(path: &str) -> Result<T, ApiError> {
    Ok(mutate(Method::POST, path, None::<&()>, None).await?.body)
}

/// Changes a row only while it is still at `version`.
pub async fn patch<T: DeserializeOwned>(
    path: &str,
    body: &impl Serialize,
    version: Option<u64>,
) -> Result<T, ApiError> {
    Ok(mutate(Method::PATCH, path, Some(body), version).await?.body)
}

/// The answer of a deletion has no body that matters.
pub async fn delete(path: &str) -> Result<(), ApiError> {
    let key = uuid::Uuid::new_v4().to_string();
    send(Method::DELETE, path, &[("Idempotency-Key", &key)], None).await.map(drop)
}

async fn mutate<T: DeserializeOwned>(
    method: Method,
    path: &str,
    body: Option<&impl Serialize>,
    version: Option<u64>,
) -> Result<Answer<T>, ApiError> {
    let key = uuid::Uuid::new_v4().to_string();
    let etag = version.map(|version| format!("\"{version}\""));
    let mut headers = vec![("Idempotency-Key", key.as_str())];
    headers.extend(etag.iter().map(|etag| ("If-Match", etag.as_str())));
    let body = body.map(serde_json::to_string).transpose().map_err(unreadable)?;
    let response = match send(method.clone(), path, &headers, body.as_deref()).await {
        // The call may have arrived; with the same key it happens once at most.
        Err(ApiError::Unreachable) => send(method, path, &headers, body.as_deref()).await,
        other => other,
    }?;
    let position = position_of(&response);
    Ok(Answer { body: read(response).await?, position })
}

async fn send(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Result<Response, ApiError> {
    let mut answer = checked(send_once(method.clone(), path, headers, body).await?).await;
    if answer.as_ref().is_err_and(|error| error.code() == Some(EXPIRED)) {
        answer = match renew().await {
            Ok(()) => checked(send_once(method, path, headers, body).await?).await,
            Err(error) => Err(error),
        };
    }
    // Where a password is asked for, the same status says that it was the wrong one.
    let signs_in = matches!(path, "/auth/login" | "/auth/first-run");
    if !signs_in && answer.as_ref().is_err_and(|error| error.status() == Some(401)) {
        SIGNED_OUT.with_borrow(|callback| callback.emit(()));
    }
    answer
}

/// Gets another token for the session. Calls that find theirs expired while this goes on wait for
/// the same answer.
async fn renew() -> Result<(), ApiError> {
    let renewal = RENEWAL.with_borrow_mut(|slot| {
        let going_on = slot.clone().filter(|renewal| renewal.peek().is_none());
        let renewal = going_on.unwrap_or_else(|| {
            let call = async {
                let answer = send_once(Method::POST, "/auth/refresh", &[], None).await?;
                checked(answer).await.map(drop)
            };
            call.boxed_local().shared()
        });
        *slot = Some(renewal.clone());
        renewal
    });
    renewal.await
}

async fn send_once(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Result<Response, ApiError> {
    let mut request = RequestBuilder::new(&format!("{ROOT}{path}"))
        .method(method)
        .header("Accept", "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = match body {
        Some(body) => request.header("Content-Type", "application/json").body(body.to_owned()),
        None => request.build(),
    };
    // A request that cannot be built and a network that cannot be reached look alike to a person.
    let response = request.map_err(|_| ApiError::Unreachable)?;
    let response = response.send().await.map_err(|_| ApiError::Unreachable)?;
    if let Some(position) = position_of(&response) {
        POSITION.set(POSITION.get().max(Some(position)));
    }
    Ok(response)
}

fn position_of(response: &Response) -> Option<u64> {
    response.headers().get("X-Position")?.parse().ok()
}

async fn checked(response: Response) -> Result<Response, ApiError> {
    if response.ok() {
        return Ok(response);
    }
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    Err(match serde_json::from_str::<Problem>(&text) {
        Ok(problem) => ApiError::Refused(Box::new(problem)),
        Err(error) => ApiError::Unreadable { status, what: error.to_string() },
    })
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, ApiError> {
    let status = response.status();
    let text = response.text().await.map_err(|_| ApiError::Unreachable)?;
    // "No content" is read as `null`, so that a caller may ask for `()`.
    let text = if text.is_empty() { "null" } else { &text };
    serde_json::from_str(text)
        .map_err(|error| ApiError::Unreadable { status, what: error.to_string() })
}

fn unreadable(error: serde_json::Error) -> ApiError {
    ApiError::Unreadable { status: 0, what: error.to_string() }
}
