//! `/live`: a WebSocket that says what changed, so that nobody has to ask again and again.
//!
//! A notice is an id and a position; the row is read over REST, with its own authorisation. Notices
//! of one topic that come faster than four a second are put together.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexplane_core::api::{LiveMessage, StepProgress, Subscribe};
use nexplane_core::id::ChangeId;
use nexplane_projections::{Notice, upkeep};
use tokio::sync::broadcast::error::RecvError;

use super::guard::origin_is_ours;
use crate::app::App;
use crate::auth::{Caller, Credential};
use crate::problem::{ApiError, ApiResult};
use crate::stream;

/// At most four frames a second per topic.
const PACE: Duration = Duration::from_millis(250);
/// Topics of one connection.
const MAX_TOPICS: usize = 200;
/// How far back `since` may be before everything has to be read again.
const MAX_REPLAY: u64 = 1000;
/// A connection is closed when its session has ended; this is how often that is looked at. It is also how often a
/// client is asked whether it is there, and how long it has to answer anything: a cable that was pulled says nothing.
const SESSION_CHECK: Duration = Duration::from_secs(15);
/// A client that takes nothing for this long is gone.
const SEND_WITHIN: Duration = Duration::from_secs(10);

/// `GET /live`. The proof comes as cookie, header, or subprotocol `bearer, <token>`.
pub async fn upgrade(State(app): State<App>, request: Request) -> ApiResult<Response> {
    let (mut parts, _) = request.into_parts();
    let caller = match subprotocol_token(&parts.headers) {
        Some(token) => app.people.bearer(&token, stream::now()).await?,
        None => app.people.caller(&parts.headers, stream::now()).await?,
    };
    if !origin_is_ours(&parts.headers) {
        return Err(ApiError::denied("The connection comes from another site."));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await.map_err(|_| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "request.upgrade",
            "This address is a WebSocket. Connect to it with a WebSocket client.",
        )
    })?;
    let response = upgrade.protocols(["bearer"]).max_message_size(64 * 1024).on_upgrade(
        move |socket| async move {
            app.metrics.live.inc();
            if let Err(why) = serve(&app, caller, socket).await {
                tracing::debug!(%why, "a live connection ended");
            }
            app.metrics.live.dec();
        },
    );
    Ok(response.into_response())
}

fn subprotocol_token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let (scheme, token) = value.split_once(',')?;
    (scheme.trim() == "bearer").then(|| token.trim().to_owned())
}

/// What a client follows and what waits to be sent.
#[derive(Default)]
struct Following {
    topics: HashSet<String>,
    /// The newest notice per topic and row.
    waiting: BTreeMap<(String, String), Notice>,
    /// The newest of each step whose effect lasts.
    under_way: BTreeMap<(String, u32), StepProgress>,
}

impl Following {
    fn keep(&mut self, notice: Notice) {
        if self.topics.contains(&notice.topic) {
            let row = notice.changed.get("id").or_else(|| notice.changed.get("name"));
            let row = row.map(ToString::to_string).unwrap_or_default();
            self.waiting.insert((notice.topic.clone(), row), notice);
        }
    }

    fn keep_progress(&mut self, change: ChangeId, progress: StepProgress) {
        let topic = format!("change:{change}");
        if self.topics.contains(&topic) {
            self.under_way.insert((topic, progress.step), progress);
        }
    }

    fn is_waiting(&self) -> bool {
        !(self.waiting.is_empty() && self.under_way.is_empty())
    }

    /// What waits, progress last: a step is known before how far it is.
    fn take(&mut self) -> impl Iterator<Item = LiveMessage> + use<> {
        let notices = std::mem::take(&mut self.waiting).into_values();
        let progress = std::mem::take(&mut self.under_way).into_iter();
        notices
            .map(|Notice { topic, position, changed }| LiveMessage::Notice {
                topic,
                position,
                changed,
            })
            .chain(progress.map(|((topic, _), progress)| LiveMessage::Progress { topic, progress }))
    }
}

async fn serve(app: &App, caller: Caller, mut socket: WebSocket) -> anyhow::Result<()> {
    let mut notices = app.projections.notices();
    let mut progress = app.engine.progress();
    let mut following = Following::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut session = tokio::time::interval(SESSION_CHECK);
    let mut heard = true;
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    heard = true;
                    let answer = subscribe(app, &mut following, &text).await;
                    for message in answer {
                        send(&mut socket, &message).await?;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => heard = true,
            },
            notice = notices.recv() => match notice {
                Ok(notice) => following.keep(notice),
                Err(RecvError::Lagged(_)) => {
                    following.waiting.clear();
                    send(&mut socket, &LiveMessage::Resync { resync: true }).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
            heard = progress.recv() => match heard {
                Ok((change, progress)) => following.keep_progress(change, progress),
                // The next one says it again.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = pace.tick(), if following.is_waiting() => {
                for message in following.take() {
                    send(&mut socket, &message).await?;
                }
            },
            _ = session.tick() => {
                anyhow::ensure!(std::mem::take(&mut heard), "the client no longer answers");
                if !is_still(app, &caller).await {
                    let error = "The session has ended. Sign in again.".to_owned();
                    send(&mut socket, &LiveMessage::Error { error }).await?;
                    return Ok(());
                }
                tokio::time::timeout(SEND_WITHIN, socket.send(Message::Ping(Vec::new().into()))).await??;
            },
        }
    }
}

/// Whether the person is still who they said: the session lives and they are not disabled.
async fn is_still(app: &App, caller: &Caller) -> bool {
    match &caller.credential {
        Credential::Session { claims, cookie } => {
            app.people.live_session(claims.clone(), *cookie).await.is_ok()
        }
        Credential::Token { id, .. } => {
            let tokens = app.directory.tokens(Some(caller.person)).await;
            tokens.is_ok_and(|tokens| tokens.iter().any(|token| token.id == *id))
                && matches!(app.people.roles(caller.person).await, Ok(Some(_)))
        }
    }
}

/// Takes a subscription and says what has to be said about it.
async fn subscribe(app: &App, following: &mut Following, text: &str) -> Vec<LiveMessage> {
    let Subscribe { subscribe, since } = match serde_json::from_str(text) {
        Ok(subscribe) => subscribe,
        Err(error) => {
            let error = format!(r#"Send {{"subscribe":["changes"],"since":0}}: {error}."#);
            return vec![LiveMessage::Error { error }];
        }
    };
    if subscribe.len() + following.topics.len() > MAX_TOPICS {
        let error = format!("At most {MAX_TOPICS} topics on one connection.");
        return vec![LiveMessage::Error { error }];
    }
    let unknown: Vec<_> = subscribe.iter().filter(|topic| !is_topic(topic)).collect();
    if !unknown.is_empty() {
        let error = format!("There are no such topics: {unknown:?}.");
        return vec![LiveMessage::Error { error }];
    }
    let changes_wanted = subscribe.iter().any(|topic| topic.starts_with("change"));
    following.topics.extend(subscribe.iter().cloned());
    let Some(since) = since else { return Vec::new() };
    let head = match app.log.head().await {
        Ok(head) => head.next_position,
        Err(_) => return vec![LiveMessage::Resync { resync: true }],
    };
    if since + 1 >= head {
        return Vec::new();
    }
    // Changes can be told from their read model; of anything else the client reads all.
    let only_changes = subscribe.iter().all(|topic| topic.starts_with("change"));
    if head - since > MAX_REPLAY || !(changes_wanted && only_changes) {
        return vec![LiveMessage::Resync { resync: true }];
    }
    match upkeep::changed_since(&app.pool, since).await {
        Ok(rows) => {
            for (id, state, position) in rows {
                let changed = serde_json::json!({ "id": id, "state": state.as_str() });
                for topic in ["changes".to_owned(), format!("change:{id}")] {
                    following.keep(Notice { topic, position, changed: changed.clone() });
                }
            }
            Vec::new()
        }
        Err(_) => vec![LiveMessage::Resync { resync: true }],
    }
}

fn is_topic(topic: &str) -> bool {
    matches!(topic, "changes" | "hosts" | "assets" | "connections" | "projections")
        || topic
            .strip_prefix("change:")
            .or_else(|| topic.strip_prefix("rollout:"))
            .is_some_and(|id| id.parse::<ChangeId>().is_ok())
}

async fn send(socket: &mut WebSocket, message: &LiveMessage) -> anyhow::Result<()> {
    let text = serde_json::to_string(message)?;
    tokio::time::timeout(SEND_WITHIN, socket.send(Message::Text(text.into()))).await??;
    Ok(())
}
