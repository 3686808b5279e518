//! The witness over HTTP.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::proof::note::{Note, VerifierKey};
use nexplane_core::proof::tree::Hash;
use serde::Deserialize;

use super::WitnessKey;
use super::memory::{Memory, MemoryError, Verdict};

/// tlog-witness: a proof has at most 63 lines; a note of a log is small.
const LARGEST_BODY: usize = 64 * 1024;
const LONGEST_PROOF: usize = 63;

/// A witness's key, the logs that it knows, and what it has seen of them.
#[derive(Clone, Debug)]
pub struct Witness {
    key: Arc<WitnessKey>,
    logs: Arc<[VerifierKey]>,
    memory: Arc<RwLock<Memory>>,
}

impl Witness {
    pub fn new(key: WitnessKey, logs: Vec<VerifierKey>, memory: Memory) -> Self {
        Self { key: Arc::new(key), logs: logs.into(), memory: Arc::new(RwLock::new(memory)) }
    }

    pub fn key(&self) -> &VerifierKey {
        self.key.verifier()
    }
}

/// `POST /add-checkpoint`, `GET /seen?origin=…` and `GET /health`.
pub fn router(witness: Witness) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add))
        .route("/seen", get(seen))
        .route("/health", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(witness)
}

struct Asked {
    old: u64,
    proof: Vec<Hash>,
    note: Note,
}

/// `old <size>`, the proof in base64, an empty line, the note.
fn parse(body: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(body).ok()?;
    let (head, note) = text.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let digits = lines.next()?.strip_prefix("old ")?;
    let old: u64 = digits.parse().ok()?;
    if old.to_string() != digits {
        return None;
    }
    let proof: Option<Vec<Hash>> =
        lines.map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect();
    let proof = proof.filter(|proof| proof.len() <= LONGEST_PROOF)?;
    Some(Asked { old, proof, note: Note::parse(note.as_bytes()).ok()? })
}

async fn add(State(witness): State<Witness>, body: Bytes) -> Response {
    let Some(asked) = parse(&body) else {
        let why = "This is not a request as in c2sp.org/tlog-witness.\n";
        return (StatusCode::BAD_REQUEST, why).into_response();
    };
    let answered = tokio::task::spawn_blocking(move || witness.judge(&asked)).await;
    match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::error!(cause = %crate::problem::chain(&error), "cannot remember a checkpoint");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot judge a checkpoint");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Witness {
    fn judge(&self, asked: &Asked) -> Result<Response, MemoryError> {
        let Asked { old, proof, note } = asked;
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        let verdict = memory.add(&self.logs, *old, proof, note)?;
        drop(memory);
        let said = |status: StatusCode, why: &'static str| (status, why).into_response();
        Ok(match verdict {
            Verdict::Consistent(checkpoint) => {
                let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
                match checkpoint.cosign(self.key.verifier(), now_s, self.key.as_ref()) {
                    Ok(signature) => signature.to_string().into_response(),
                    Err(error) => {
                        tracing::error!(%error, "cannot cosign a checkpoint");
                        StatusCode::INTERNAL_SERVER_ERROR.into_response()
                    }
                }
            }
            Verdict::UnknownLog => said(StatusCode::NOT_FOUND, "This log is not witnessed here.\n"),
            Verdict::Unsigned => said(StatusCode::FORBIDDEN, "The log did not sign this.\n"),
            Verdict::OldIsLarger => {
                said(StatusCode::BAD_REQUEST, "The old size is larger than the checkpoint's.\n")
            }
            Verdict::OldIsNotThat { size } => conflict(size),
            Verdict::Split { size } => {
                another_history(note);
                conflict(size)
            }
            Verdict::Inconsistent => {
                another_history(note);
                let why = "This does not continue what the log showed before.\n";
                said(StatusCode::UNPROCESSABLE_ENTITY, why)
            }
        })
    }
}

fn conflict(size: u64) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
    (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
}

/// The note is signed, so this line in a witness's log is proof against its log.
fn another_history(note: &Note) {
    tracing::warn!(%note, "a log showed a history that is not the one it showed before");
}

#[derive(Debug, Deserialize)]
struct SeenQuery {
    origin: String,
}

/// The newest note that a log has shown: for `nexplane audit verify --checkpoint`.
async fn seen(State(witness): State<Witness>, Query(query): Query<SeenQuery>) -> Response {
    let memory = witness.memory.read().unwrap_or_else(PoisonError::into_inner);
    match memory.note(&query.origin) {
        Some(note) => note.to_owned().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
