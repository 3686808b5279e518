//! From a command to events in the log: load, decide, append, and again when somebody was quicker.

pub mod recent;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use nexplane_core::aggregate::{Asked, Decider, Principal, Reject};
use nexplane_core::event::{Event, Recorded, UnreadableEvent};
use nexplane_core::id::{CommandId, PersonId, StreamId};
use nexplane_core::person::{Person, PersonState};
use nexplane_core::record::BadRecord;
use nexplane_core::time::Timestamp;
use nexplane_store::log::{Append, AppendError, Guard, Log, NewEvent, ReadError, Stored};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// How often a command is decided again after a conflict before the caller hears of it.
const ATTEMPTS: u32 = 16;
/// How long a command waits for its turn before it takes its chance.
const TURN: Duration = Duration::from_secs(5);
/// Commands of this process for one stream come one after the other, in the order in which they
/// were asked for: in a race each would be decided as often as others are quicker. Streams share
/// the few turns there are, which costs a command now and then the time of another's append.
static TURNS: [Mutex<()>; 1024] = [const { Mutex::const_new(()) }; 1024];

/// One request, however many streams it touches.
#[derive(Clone, Debug)]
pub struct Request {
    pub command: CommandId,
    pub hash: [u8; 32],
    pub by: Principal,
    /// The version of their stream at which `by` has these roles. What is written is written while that
    /// is so, and otherwise decided again with the roles that they have then; none for who is no person.
    pub seen: Option<u64>,
    pub at: Timestamp,
    pub correlation: Uuid,
    pub causation: Uuid,
    /// The stream version that the caller saw (`If-Match`).
    pub if_match: Option<u64>,
    /// It may have been made before. A refusal is then looked at twice: what stands in the way may
    /// be what the same request did the first time.
    pub repeated: bool,
}

impl Request {
    /// A request of Nexplane itself that is repeatable: the same cause and purpose give the same
    /// command id, so doing it again after a crash has no second effect.
    pub fn following(cause: Uuid, correlation: Uuid, purpose: &str, at: Timestamp) -> Self {
        Self {
            command: CommandId(Uuid::new_v5(&cause, purpose.as_bytes())),
            hash: Sha256::digest(purpose.as_bytes()).into(),
            by: Principal::SYSTEM,
            seen: None,
            at,
            correlation,
            causation: cause,
            if_match: None,
            repeated: true,
        }
    }

    /// A request that is made once and never repeated.
    pub fn once(by: Principal, at: Timestamp) -> Self {
        let id = Uuid::now_v7();
        Self {
            command: CommandId(id),
            hash: [0; 32],
            by,
            seen: None,
            at,
            correlation: id,
            causation: id,
            if_match: None,
            repeated: false,
        }
    }

    /// Another command of the same request, on another stream.
    #[must_use]
    pub fn also(&self, purpose: &str) -> Self {
        Self {
            command: CommandId(Uuid::new_v5(&self.command.0, purpose.as_bytes())),
            if_match: None,
            ..self.clone()
        }
    }

    /// The same request with the powers of Nexplane itself: for what follows from it.
    #[must_use]
    pub fn as_system(&self, purpose: &str) -> Self {
        Self { by: Principal::SYSTEM, seen: None, ..self.also(purpose) }
    }
}

/// An aggregate as it is in the log.
#[derive(Clone, Debug)]
pub struct Loaded<D: Decider> {
    pub state: D::State,
    /// 0 when the stream does not exist.
    pub version: u64,
}

impl<D: Decider> Loaded<D> {
    /// A stream before its first event.
    fn nothing() -> Self {
        Self { state: D::State::default(), version: 0 }
    }
}

/// What a command led to.
#[derive(Clone, Debug)]
pub struct Done<D: Decider> {
    pub state: D::State,
    pub version: u64,
    /// Position of the last event; `None` when nothing had to happen.
    pub position: Option<u64>,
    pub events: Vec<D::Event>,
    /// The same request had been made before, and led to it then.
    pub repeated: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError<R: std::error::Error + 'static> {
    #[error(transparent)]
    Rejected(R),
    /// While it was decided; nobody has heard of it.
    #[error("the account of whoever asks was disabled")]
    Disabled,
    /// `If-Match` names another version.
    #[error("the version is {actual}, not {expected}")]
    Stale { expected: u64, actual: u64 },
    #[error("could not read stream {stream}")]
    Read {
        stream: StreamId,
        #[source]
        source: LoadError,
    },
    #[error("could not append to stream {stream}")]
    Append {
        stream: StreamId,
        #[source]
        source: AppendError,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error(transparent)]
    Event(#[from] UnreadableEvent),
    #[error("a read model cannot be asked")]
    Query(#[from] nexplane_projections::QueryError),
    #[error("the read models are late")]
    Late,
}

/// A command together with what it was decided on in other streams.
#[derive(Clone, Debug)]
pub struct Prepared<C> {
    pub command: C,
    /// The moment that it is asked at, when that is not the request's.
    pub at: Option<Timestamp>,
    /// While these hold, it is the same command.
    pub guards: Vec<Guard>,
}

/// Makes a command of what its own stream is, and of what other streams say.
pub trait Prepare<D: Decider>: Sync {
    /// Asked for every attempt anew.
    fn prepare(
        &self,
        state: &D::State,
    ) -> impl Future<Output = Result<Prepared<D::Command>, LoadError>> + Send;

    /// Whether to prepare and decide again when this guarded stream has moved; that of who asks always is.
    fn is_decided_again(&self, moved: StreamId) -> bool;
}

/// A command that depends on nothing else.
struct Plain<C>(Prepared<C>);

impl<D: Decider> Prepare<D> for Plain<D::Command>
where
    D::Command: Clone + Sync,
{
    async fn prepare(&self, _: &D::State) -> Result<Prepared<D::Command>, LoadError> {
        Ok(self.0.clone())
    }

    fn is_decided_again(&self, _: StreamId) -> bool {
        false
    }
}

pub type Outcome<D> = Result<Done<D>, StreamError<<D as Decider>::Rejection>>;

/// Reads stored events as events.
pub fn recorded(stored: &Stored) -> Result<Recorded, LoadError> {
    let (header, event) = Event::decode(stored.decode()?)?;
    Ok(Recorded { position: stored.position, header, event })
}

/// All events of a stream, up to a position when one is given.
pub async fn history(
    log: &Log,
    stream: StreamId,
    until: Option<u64>,
) -> Result<Vec<Recorded>, LoadError> {
    log.read_stream(stream, 1, until).await?.iter().map(recorded).collect()
}

/// Folds a stream.
pub async fn load<D: Decider>(log: &Log, stream: StreamId) -> Result<Loaded<D>, LoadError> {
    catch_up(log, stream, Loaded::nothing()).await
}

/// What these streams are now, in few questions; those that do not exist are left out.
pub async fn load_each<D: Decider>(
    log: &Log,
    streams: &[StreamId],
) -> Result<HashMap<StreamId, Loaded<D>>, LoadError> {
    let read = log.read_streams(streams).await?;
    let folded = |events: Vec<Stored>| fold(Loaded::nothing(), &events);
    read.into_iter().map(|(stream, events)| Ok((stream, folded(events)?))).collect()
}

/// Carries a folded stream forward to what it is now.
pub async fn catch_up<D: Decider>(
    log: &Log,
    stream: StreamId,
    loaded: Loaded<D>,
) -> Result<Loaded<D>, LoadError> {
    let events = log.read_stream(stream, loaded.version + 1, None).await?;
    fold(loaded, &events)
}

fn fold<D: Decider>(mut loaded: Loaded<D>, events: &[Stored]) -> Result<Loaded<D>, LoadError> {
    for stored in events {
        let Recorded { header, event, .. } = recorded(stored)?;
        if let Some(event) = D::own(&event) {
            loaded.state = D::evolve(loaded.state, event, header.actor, header.at);
        }
        loaded.version = header.version;
    }
    Ok(loaded)
}

/// Decides a command on what the stream is now, and appends what follows.
pub async fn execute<D: Decider>(
    log: &Log,
    stream: StreamId,
    request: &Request,
    command: D::Command,
) -> Outcome<D>
where
    D::Command: Clone + Sync,
{
    let prepared = Prepared { command, at: None, guards: Vec::new() };
    execute_prepared(log, stream, request, &Plain(prepared)).await
}

/// The same on a stream of which something is known already: only what came since is read.
pub async fn execute_from<D: Decider>(
    log: &Log,
    stream: StreamId,
    request: &Request,
    command: D::Command,
    known: Loaded<D>,
) -> Outcome<D>
where
    D::Command: Clone + Sync,
{
    let prepared = Prepared { command, at: None, guards: Vec::new() };
    carry_out(log, stream, request, &Plain(prepared), known).await
}

/// The same with a command that depends on other streams: appended only while they are as they were
/// when it was decided, and decided again when they are not.
pub async fn execute_prepared<D: Decider>(
    log: &Log,
    stream: StreamId,
    request: &Request,
    prepare: &impl Prepare<D>,
) -> Outcome<D> {
    carry_out(log, stream, request, prepare, Loaded::nothing()).await
}

/// `known` is what the stream was, at the latest of its versions that need not be read again.
async fn carry_out<D: Decider>(
    log: &Log,
    stream: StreamId,
    request: &Request,
    prepare: &impl Prepare<D>,
    known: Loaded<D>,
) -> Outcome<D> {
    let _turn = turn(stream).await;
    let unreadable = |source| StreamError::Read { stream, source };
    let mut loaded = catch_up::<D>(log, stream, known).await.map_err(unreadable)?;
    let mut asker = Asker::of(request);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let Loaded { state, version } = loaded;
        if asker.is_stale(stream, version) && !asker.read(log).await.map_err(unreadable)? {
            return Err(StreamError::Disabled);
        }
        // It happens now, however long ago it was asked for.
        let mut asked_at = request.at.max(now());
        let mut guards = Vec::new();
        let decided = match request.if_match {
            Some(expected) if expected != version => {
                Err(StreamError::Stale { expected, actual: version })
            }
            Some(_) | None => {
                let prepared = prepare.prepare(&state).await.map_err(unreadable)?;
                guards = prepared.guards;
                guards.extend(asker.guard(stream));
                asked_at = prepared.at.unwrap_or(asked_at);
                let (by, at, command) = (asker.by.clone(), asked_at, prepared.command);
                D::decide(&state, Asked { by, at, command }).map_err(StreamError::Rejected)
            }
        };
        let events = match decided {
            Ok(events) if !events.is_empty() => events,
            nothing => {
                let position = written(log, request)
                    .await
                    .map_err(|source| StreamError::Append { stream, source })?;
                if position.is_none() {
                    nothing?;
                }
                let repeated = position.is_some();
                return Ok(Done { state, version, position, events: Vec::new(), repeated });
            }
        };
        let append = Append {
            command: request.command,
            request_hash: request.hash,
            stream,
            expected_version: version,
            guards,
            events: events.iter().map(|event| new_event(event.clone().into())).collect(),
            actor: request.by.actor,
            at: asked_at,
            correlation: request.correlation,
            causation: request.causation,
        };
        match log.append(append).await {
            // The events of the first time are what the stream has: read it again.
            Ok(appended) if appended.duplicate => {
                let now = catch_up::<D>(log, stream, Loaded { state, version }).await;
                let Loaded { state, version } = now.map_err(unreadable)?;
                let position = Some(appended.last_position);
                return Ok(Done { state, version, position, events, repeated: true });
            }
            Ok(appended) => {
                let version = version + events.len() as u64;
                let state = events.iter().fold(state, |state, event| {
                    D::evolve(state, event, request.by.actor, asked_at)
                });
                let position = Some(appended.last_position);
                return Ok(Done { state, version, position, events, repeated: false });
            }
            Err(AppendError::Conflict { .. })
                if attempt < ATTEMPTS && request.if_match.is_none() =>
            {
                tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await;
                let now = catch_up::<D>(log, stream, Loaded { state, version }).await;
                loaded = now.map_err(unreadable)?;
            }
            Err(AppendError::GuardFailed { stream: moved, .. })
                if attempt < ATTEMPTS && (asker.is(moved) || prepare.is_decided_again(moved)) =>
            {
                asker.moved(moved);
                tokio::time::sleep(Duration::from_millis(u64::from(attempt))).await;
                let now = catch_up::<D>(log, stream, Loaded { state, version }).await;
                loaded = now.map_err(unreadable)?;
            }
            Err(AppendError::Conflict { expected, actual, .. }) if request.if_match.is_some() => {
                return Err(StreamError::Stale { expected, actual });
            }
            Err(source) => return Err(StreamError::Append { stream, source }),
        }
    }
}

/// Whoever asks, with the roles that they have; and what says so.
///
/// Of a command and the end of a role exactly one comes first in the log. Whatever else happens to the
/// person meanwhile, such as that they sign in, has the command decided again, and that is all.
struct Asker {
    by: Principal,
    /// Their stream, and the version at which they have the roles; none when they have to be read.
    person: Option<(PersonId, Option<u64>)>,
}

impl Asker {
    fn of(request: &Request) -> Self {
        let person = request.by.actor.person().map(|person| (person, request.seen));
        Self { by: request.by.clone(), person }
    }

    fn is(&self, stream: StreamId) -> bool {
        self.person.is_some_and(|(person, _)| StreamId::from(person) == stream)
    }

    /// A command on their own stream is decided at the version of that.
    fn is_stale(&self, stream: StreamId, version: u64) -> bool {
        self.person
            .is_some_and(|(_, seen)| seen.is_none() || self.is(stream) && seen != Some(version))
    }

    /// Reads them anew; `false` when they may no longer sign in.
    async fn read(&mut self, log: &Log) -> Result<bool, LoadError> {
        let Some((person, seen)) = &mut self.person else { return Ok(true) };
        let Loaded { state, version } = load::<Person>(log, (*person).into()).await?;
        *seen = Some(version);
        match state {
            PersonState::Active(active) => {
                self.by.roles = active.roles;
                Ok(true)
            }
            PersonState::Absent | PersonState::Disabled(_) => Ok(false),
        }
    }

    fn moved(&mut self, stream: StreamId) {
        if let Some((person, seen)) = &mut self.person
            && StreamId::from(*person) == stream
        {
            *seen = None;
        }
    }

    /// None on their own stream: its version is what is expected there.
    fn guard(&self, stream: StreamId) -> Option<Guard> {
        let (person, seen) = self.person?;
        let guarded = StreamId::from(person);
        (guarded != stream).then_some(Guard { stream: guarded, version: seen? })
    }
}

/// The turn of a command of this process on a stream; none when the wait for it is too long.
async fn turn(stream: StreamId) -> Option<MutexGuard<'static, ()>> {
    let mut hasher = DefaultHasher::new();
    stream.hash(&mut hasher);
    let number = usize::try_from(hasher.finish() % TURNS.len() as u64).unwrap_or(0);
    tokio::time::timeout(TURN, TURNS.get(number)?.lock()).await.ok()
}

/// Where the events of a repeated request are, if its first time wrote any.
pub async fn written(log: &Log, request: &Request) -> Result<Option<u64>, AppendError> {
    if !request.repeated {
        return Ok(None);
    }
    let written = log.written(request.command, request.hash).await?;
    Ok(written.map(|appended| appended.last_position))
}

fn new_event(event: Event) -> NewEvent {
    let encoded = event.encode();
    NewEvent { id: Uuid::now_v7(), kind: encoded.kind, schema: encoded.schema, data: encoded.data }
}

impl LoadError {
    /// The database did not answer; the same question may be answered later.
    pub const fn is_away(&self) -> bool {
        matches!(self, Self::Log(ReadError::Unavailable(_)))
    }
}

impl<R: std::error::Error + 'static> StreamError<R> {
    /// The database did not answer, or has too much to do; the same request may be answered later.
    pub const fn is_away(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_away(),
            Self::Append { source, .. } => {
                matches!(source, AppendError::Unavailable(_) | AppendError::Overloaded)
            }
            Self::Rejected(_) | Self::Disabled | Self::Stale { .. } => false,
        }
    }
}

impl<R: std::error::Error + 'static> StreamError<R> {
    /// It can never be stored as it is.
    pub const fn is_unstorable(&self) -> bool {
        matches!(self, Self::Append { source: AppendError::Invalid(_), .. })
    }
}

impl<R: Reject> StreamError<R> {
    /// The rejection, when the domain said no.
    pub const fn rejection(&self) -> Option<&R> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Disabled | Self::Stale { .. } | Self::Read { .. } | Self::Append { .. } => None,
        }
    }
}

/// Now, as events are stamped.
pub fn now() -> Timestamp {
    Timestamp::new(jiff::Timestamp::now())
}
