//! What long streams of connections were a moment ago, so that who asks again reads only what came since.
//!
//! A connection has an event for each time that its credentials were opened. Read from the beginning each time,
//! the targets of a rollout on one connection would cost as many events as the square of their number.
//!
//! Nothing is decided on what is remembered alone: what came since is read each time, and an append says which
//! version it builds on. The first events of a stream do not change while a log is open; should somebody put
//! another log in its place, what is remembered is given up when the log refuses, and after a minute in any case.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nexplane_core::connection::{Connection, ConnectionCommand};
use nexplane_core::id::{ConnectionId, StreamId};
use nexplane_store::log::Log;
use uuid::Uuid;

use super::{LoadError, Loaded, Outcome, Request, catch_up, execute_from};

/// How long after a stream was read from its beginning it is read from there again.
const FRESH: Duration = Duration::from_mins(1);
/// Shorter streams are not worth it.
const LONG: u64 = 16;
/// Streams that are remembered, at most.
const MOST: usize = 1024;

/// By log and by stream.
type Known = HashMap<(Uuid, ConnectionId), Seen>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
struct Seen {
    loaded: Loaded<Connection>,
    /// When it was read from its beginning.
    whole: Instant,
}

/// The connection as its stream says now.
pub async fn load(log: &Log, id: ConnectionId) -> Result<Loaded<Connection>, LoadError> {
    let Seen { loaded, whole } = of(log, id);
    let read = catch_up::<Connection>(log, id.into(), loaded).await;
    match &read {
        Ok(loaded) => keep(log, id, Seen { loaded: loaded.clone(), whole }),
        Err(_) => forget(log, id),
    }
    read
}

/// The same of many; those that do not exist are left out.
pub async fn load_each(
    log: &Log,
    ids: impl IntoIterator<Item = ConnectionId>,
) -> Result<HashMap<ConnectionId, Loaded<Connection>>, LoadError> {
    let mut found = HashMap::new();
    let (known, others): (Vec<_>, Vec<_>) =
        ids.into_iter().map(|id| (id, of(log, id))).partition(|(_, seen)| seen.loaded.version > 0);
    let streams: Vec<StreamId> = known.iter().map(|(id, _)| (*id).into()).collect();
    let versions = log.versions(&streams).await?;
    for (id, seen) in known {
        let is_newest = versions.get(&id.into()) == Some(&seen.loaded.version);
        let loaded = if is_newest { seen.loaded } else { load(log, id).await? };
        found.insert(id, loaded);
    }
    let others: Vec<ConnectionId> = others.into_iter().map(|(id, _)| id).collect();
    let whole = Instant::now();
    let streams: Vec<StreamId> = others.iter().map(|id| (*id).into()).collect();
    let mut read = super::load_each::<Connection>(log, &streams).await?;
    for id in others {
        let Some(loaded) = read.remove(&id.into()) else { continue };
        keep(log, id, Seen { loaded: loaded.clone(), whole });
        found.insert(id, loaded);
    }
    Ok(found)
}

/// Decides a command on what the connection is now, and appends what follows.
pub async fn execute(
    log: &Log,
    id: ConnectionId,
    request: &Request,
    command: ConnectionCommand,
) -> Outcome<Connection> {
    let Seen { loaded, whole } = of(log, id);
    let done = execute_from(log, id.into(), request, command, loaded).await;
    match &done {
        Ok(done) => {
            let loaded = Loaded { state: done.state.clone(), version: done.version };
            keep(log, id, Seen { loaded, whole });
        }
        Err(_) => forget(log, id),
    }
    done
}

/// What is remembered; nothing, read now, when that is nothing or too old.
fn of(log: &Log, id: ConnectionId) -> Seen {
    let seen = known().get(&(log.opening(), id)).filter(|seen| seen.is_fresh()).cloned();
    seen.unwrap_or_else(|| Seen { loaded: Loaded::nothing(), whole: Instant::now() })
}

fn keep(log: &Log, id: ConnectionId, seen: Seen) {
    if seen.loaded.version < LONG || !seen.is_fresh() {
        return;
    }
    let mut known = known();
    if known.len() >= MOST {
        known.retain(|_, seen| seen.is_fresh());
    }
    if known.len() < MOST {
        known.insert((log.opening(), id), seen);
    }
}

fn forget(log: &Log, id: ConnectionId) {
    known().remove(&(log.opening(), id));
}

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn is_fresh(&self) -> bool {
        self.whole.elapsed() < FRESH
    }
}
