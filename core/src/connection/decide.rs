//! State and command to events, or the exact reason why not.

use serde_json::Value;

use crate::actor::{Actor, ActorKind, Role};
use crate::aggregate::{Asked, Decider, Principal};
use crate::connection::command::ConnectionCommand;
use crate::connection::event::{ConnectionEvent, Limits, Purpose};
use crate::connection::evolve::evolve;
use crate::connection::rejection::ConnectionRejection as No;
use crate::connection::state::{Active, ConnectionState};
use crate::event::Event;
use crate::id::{Category, ChangeId};
use crate::time::Timestamp;

/// Most characters of a connection's name.
pub const MAX_NAME: usize = 80;
const MAX_SESSIONS: u32 = 100;
const MAX_PER_MINUTE: u32 = 6000;
const MIN_EVERY_S: u32 = 300;
const MAX_EVERY_S: u32 = 7 * 24 * 3600;

/// Connector id of built-in connections, and of no others.
pub const BUILT_IN_CONNECTOR: &str = "host";

/// Most characters of a built-in connection's name, which is a host name (RFC 1035, 2.3.4).
const MAX_BUILT_IN_NAME: usize = 253;

const ADMIN: &str = "the admin role, as a person who is signed in";
const OPERATOR: &str = "the operator or admin role, as a person who is signed in";
const PLANNER: &str = "the operator or admin role";
const THE_SYSTEM: &str = "Nexplane itself";

/// The connection aggregate.
#[derive(Clone, Copy, Debug)]
pub struct Connection;

impl Decider for Connection {
    const CATEGORY: Category = Category::Connection;
    type State = ConnectionState;
    type Command = ConnectionCommand;
    type Event = ConnectionEvent;
    type Rejection = No;

    fn decide(
        state: &ConnectionState,
        asked: Asked<ConnectionCommand>,
    ) -> Result<Vec<ConnectionEvent>, No> {
        let Asked { by, at: _, command } = asked;
        permitted(&by, &command)?;
        match state {
            ConnectionState::Absent => create(command),
            ConnectionState::Active(active) => act(active, command),
            ConnectionState::Removed(removed) => Err(No::Removed { name: removed.name.clone() }),
        }
    }

    fn evolve(
        state: ConnectionState,
        event: &ConnectionEvent,
        _by: Actor,
        at: Timestamp,
    ) -> ConnectionState {
        evolve(state, event, at)
    }

    fn own(event: &Event) -> Option<&ConnectionEvent> {
        if let Event::Connection(event) = event { Some(event) } else { None }
    }
}

impl From<ConnectionEvent> for Event {
    fn from(event: ConnectionEvent) -> Self {
        Self::Connection(event)
    }
}

/// Who may ask for what, whatever the state.
fn permitted(by: &Principal, command: &ConnectionCommand) -> Result<(), No> {
    use ConnectionCommand as C;

    let is_system = by.actor.kind == ActorKind::System;
    let is_admin = by.actor.kind == ActorKind::User && by.has(Role::Admin);
    let has_role = by.has_any(&[Role::Operator, Role::Admin]);
    let is_operator = by.actor.kind == ActorKind::User && has_role;
    let is_planner = is_operator || by.actor.kind == ActorKind::Machine && has_role;
    let (may, needed) = match command {
        C::Create { host: Some(_), .. } => (is_system, THE_SYSTEM),
        C::Create { host: None, .. }
        | C::Rename { .. }
        | C::Relabel { .. }
        | C::Limit { .. }
        | C::ScheduleDiscovery { .. }
        | C::ReplaceCredentials { .. }
        | C::Remove { .. } => (is_admin, ADMIN),
        C::RecordTest { .. }
        | C::RecordDiscovery { .. }
        | C::RecordDiscoveryFailure { .. }
        | C::OpenCredentials {
            purpose: Purpose::Test | Purpose::Discover | Purpose::Execute,
            ..
        } => (is_operator || is_system, OPERATOR),
        C::OpenCredentials { purpose: Purpose::Plan, .. } => (is_planner || is_system, PLANNER),
    };
    if may { Ok(()) } else { Err(No::Denied { needed }) }
}

fn create(command: ConnectionCommand) -> Result<Vec<ConnectionEvent>, No> {
    let ConnectionCommand::Create { name, connector, environment, settings, credentials, host } =
        command
    else {
        return Err(No::NotFound);
    };
    let name = checked_name(&name, host.is_some())?;
    let settings = checked_settings(settings)?;
    if connector.is_empty() {
        return Err(No::Invalid { field: "connector", problem: "must not be empty".to_owned() });
    }
    if (connector == BUILT_IN_CONNECTOR) != host.is_some() {
        return Err(No::Invalid {
            field: "connector",
            problem: "connections to hosts are made by enrolling the host's agent".to_owned(),
        });
    }
    if host.is_some() && credentials.is_some() {
        return Err(No::Invalid {
            field: "credentials",
            problem: "a built-in connection takes none: the agent has its own certificate"
                .to_owned(),
        });
    }
    Ok(vec![ConnectionEvent::Created { name, connector, environment, settings, credentials, host }])
}

fn act(active: &Active, command: ConnectionCommand) -> Result<Vec<ConnectionEvent>, No> {
    use ConnectionCommand as C;
    use ConnectionEvent as E;

    let built_in = |wanted| No::BuiltIn { name: active.name.clone(), wanted };
    Ok(match command {
        C::Create { .. } => return Err(No::Exists),
        C::Rename { name } => {
            let name = checked_name(&name, active.is_built_in())?;
            if name == active.name { Vec::new() } else { vec![E::Renamed { name }] }
        }
        C::Relabel { environment } if environment == active.environment => Vec::new(),
        C::Relabel { environment } => vec![E::Relabelled { environment }],
        C::Limit { limits } => {
            let limits = checked_limits(limits)?;
            if limits == active.limits { Vec::new() } else { vec![E::Limited { limits }] }
        }
        C::ScheduleDiscovery { every_s } => {
            let every_s = checked_every(every_s)?;
            if every_s == active.discover_every_s {
                Vec::new()
            } else {
                vec![E::DiscoveryScheduled { every_s }]
            }
        }
        C::ReplaceCredentials { settings, credentials } => {
            if active.is_built_in() {
                return Err(built_in("it has no credentials: the agent has its own certificate"));
            }
            let settings = checked_settings(settings)?;
            if settings == active.settings && active.credentials == Some(credentials) {
                Vec::new()
            } else {
                vec![E::CredentialsReplaced { settings, credentials }]
            }
        }
        C::Remove { host_revoked } => {
            if active.is_built_in() && !host_revoked {
                return Err(built_in("revoke the host first, then remove it"));
            }
            vec![E::Removed {}]
        }
        C::RecordTest { checks } => {
            let ok = !checks.is_empty() && checks.iter().all(|check| check.ok);
            vec![E::Tested { ok, checks }]
        }
        C::RecordDiscovery { found, new, changed, gone, duration_ms } => {
            vec![E::Discovered { found, new, changed, gone, duration_ms }]
        }
        C::RecordDiscoveryFailure { kind, reason } => vec![E::DiscoveryFailed { kind, reason }],
        C::OpenCredentials { purpose, change, reads_for } => {
            let change = checked_change(purpose, change)?;
            match active.credentials {
                Some(_) => vec![E::CredentialsOpened { purpose, change, reads_for }],
                None => Vec::new(),
            }
        }
    })
}

fn checked_name(name: &str, built_in: bool) -> Result<String, No> {
    let invalid = |problem: String| Err(No::Invalid { field: "name", problem });
    let limit = if built_in { MAX_BUILT_IN_NAME } else { MAX_NAME };
    let name = name.trim();
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return invalid("has to begin with a letter or a digit".to_owned());
    }
    if name.chars().any(|c| !c.is_ascii_alphanumeric() && !matches!(c, ' ' | '.' | '_' | '-')) {
        return invalid("use letters, digits, spaces, '.', '_' and '-'".to_owned());
    }
    if name.len() > limit {
        return invalid(format!("at most {limit} characters"));
    }
    Ok(name.to_owned())
}

fn checked_settings(settings: Value) -> Result<Value, No> {
    if settings.is_object() {
        Ok(settings)
    } else {
        Err(No::Invalid { field: "settings", problem: "must be a JSON object".to_owned() })
    }
}

fn checked_limits(limits: Limits) -> Result<Limits, No> {
    let invalid = |field, problem: &str| Err(No::Invalid { field, problem: problem.to_owned() });
    if !(1..=MAX_SESSIONS).contains(&limits.sessions) {
        return invalid("limits.sessions", "1 to 100");
    }
    if limits.per_minute.is_some_and(|count| !(1..=MAX_PER_MINUTE).contains(&count)) {
        return invalid("limits.per_minute", "1 to 6,000, or leave it out");
    }
    Ok(limits)
}

/// Whether a connection can be discovered as often as this.
pub fn checked_every(every_s: Option<u32>) -> Result<Option<u32>, No> {
    if every_s.is_some_and(|every| !(MIN_EVERY_S..=MAX_EVERY_S).contains(&every)) {
        let problem = "300 to 604,800 seconds: five minutes to a week".to_owned();
        return Err(No::Invalid { field: "discover_every_s", problem });
    }
    Ok(every_s)
}

/// An opening says which change it is for, exactly when it is for one.
fn checked_change(purpose: Purpose, change: Option<ChangeId>) -> Result<Option<ChangeId>, No> {
    let invalid = |problem: &str| No::Invalid { field: "change", problem: problem.to_owned() };
    match (purpose, change) {
        (Purpose::Plan | Purpose::Execute, None) => {
            Err(invalid("name the change that is planned or executed"))
        }
        (Purpose::Test | Purpose::Discover, Some(_)) => {
            Err(invalid("tests and discoveries belong to no change"))
        }
        (Purpose::Plan | Purpose::Execute, Some(_)) | (Purpose::Test | Purpose::Discover, None) => {
            Ok(change)
        }
    }
}
