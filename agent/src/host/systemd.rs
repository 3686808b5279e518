//! Units, through the bus of systemd: `org.freedesktop.systemd1(5)`.
//!
//! Each question has a connection of its own and ten seconds. Starting and stopping have as long as the
//! unit itself allows for, between [`JOB`] and the host's patience. Deliberately absent: `systemctl`,
//! and everything else that would start a program.

use std::collections::{BTreeSet, HashSet};
use std::future::{Future, poll_fn};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::pin;
use std::time::Duration;

use zbus::export::futures_core::Stream;
use zbus::wire::DynamicType;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::{HostError, Unit, UnitName};

/// Where the system bus listens (D-Bus specification, "Well-known Message Bus Instances").
pub(super) const SOCKET: &str = "/run/dbus/system_bus_socket";
/// Longest wait for a unit to start or stop.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);

const BUS: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
/// Properties of a unit with the names of others, by what happens to those (`systemd.unit(5)`).
const STOPPED_WITH_IT: [&str; 5] =
    ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"];
const STARTED_WITH_IT: [&str; 4] = ["Requires", "BindsTo", "Wants", "Upholds"];
const WANTING_IT: [&str; 2] = ["WantedBy", "UpheldBy"];
const STOPPED_BY_ITS_START: [&str; 2] = ["Conflicts", "ConflictedBy"];
/// Most units that are looked at because of one: more hang together only where somebody made a circle.
const MANY: usize = 256;
/// The signal that no process survives (`signal(7)`).
const SIGKILL: i32 = 9;
const QUESTION: Duration = Duration::from_secs(10);
/// Shortest wait for a unit to start or stop: systemd's own default (`DefaultTimeoutStartSec=`).
const JOB: Duration = Duration::from_secs(90);
/// A service that ends right after it was started did not start.
const SETTLE: Duration = Duration::from_secs(1);
/// Answers of `GetUnitFileState` that mean that there is no file.
const NO_FILE: [&str; 3] = [
    "org.freedesktop.DBus.Error.FileNotFound",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.DBus.Error.InvalidArgs",
];

/// The service manager of a host, at its bus.
#[derive(Debug)]
pub(super) struct Systemd {
    socket: OwnedFd,
    patience: Duration,
}

impl Systemd {
    /// `socket` is that of the bus, opened as a path.
    pub(super) const fn at(socket: OwnedFd, patience: Duration) -> Self {
        Self { socket, patience }
    }

    /// `None` when there is no such unit.
    pub(super) fn unit(&self, name: &UnitName) -> Result<Option<Unit>, HostError> {
        self.ask(name, QUESTION, async |manager| manager.unit(name).await)
    }

    pub(super) fn set_enabled(&self, name: &UnitName, enabled: bool) -> Result<(), HostError> {
        let names = vec![name.as_str()];
        self.ask(name, JOB, async |manager| {
            // Not only until the next start, and never in place of another link.
            if enabled {
                manager.call("EnableUnitFiles", &(&names, false, false)).await?;
            } else {
                manager.call("DisableUnitFiles", &(&names, false)).await?;
            }
            manager.call("Reload", &()).await.map(drop)
        })
    }

    pub(super) fn set_active(&self, name: &UnitName, active: bool) -> Result<(), HostError> {
        let outcome = self.ask(name, self.patience + 3 * QUESTION, async |manager| {
            manager.bring(name, active, self.patience).await
        })?;
        outcome.map_err(|why| trouble(name, why))
    }

    pub(super) fn service(&self, name: &UnitName) -> Result<ServiceState, HostError> {
        self.ask(name, QUESTION, async |manager| manager.service(name).await)
    }

    /// Ends the main process of a service at once, if there is one.
    pub(super) fn kill(&self, name: &UnitName) -> Result<(), HostError> {
        self.ask(name, QUESTION, async |manager| {
            manager.call("KillUnit", &(name.as_str(), "main", SIGKILL)).await.map(drop)
        })
    }

    /// Makes the manager read the unit's files again, or notice that they are gone.
    pub(super) fn reload(&self, name: &UnitName) -> Result<(), HostError> {
        self.ask(name, JOB, async |manager| {
            manager.call("Reload", &()).await?;
            // Not loaded is what it should be.
            let _ = manager.call("ResetFailedUnit", &(name.as_str(),)).await;
            Ok(())
        })
    }

    /// On a thread of its own, because whoever asks may be on one that drives others.
    fn ask<T: Send>(
        &self,
        name: &UnitName,
        limit: Duration,
        work: impl AsyncFnOnce(Manager) -> zbus::Result<T> + Send,
    ) -> Result<T, HostError> {
        let address = format!("unix:path=/proc/self/fd/{}", self.socket.as_raw_fd());
        let asked = std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| error.to_string())?;
                runtime.block_on(within(limit, async {
                    let address = address.as_str();
                    let connection = zbus::connection::Builder::address(address).build().await?;
                    work(Manager { connection }).await
                }))
            });
            asked.join().unwrap_or_else(|_| Err("asking it went wrong".to_owned()))
        });
        asked.map_err(|why| trouble(name, format!("systemd could not be asked: {why}")))
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = zbus::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", limit.as_secs())),
    }
}

fn trouble(name: &UnitName, why: String) -> HostError {
    HostError::Service { unit: name.to_string(), why }
}

/// What the manager knows of a service besides its [`Unit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// What the service last said of itself.
    pub status: String,
    /// 0 when it does not run.
    pub main_pid: u32,
    /// How often it was started again after it ended.
    pub restarts: u32,
}

/// The manager, over one connection.
struct Manager {
    connection: Connection,
}

impl Manager {
    async fn call<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        let interface = Some(MANAGER_INTERFACE);
        self.connection.call_method(Some(BUS), MANAGER, interface, method, body).await
    }

    async fn property<T>(
        &self,
        unit: &OwnedObjectPath,
        interface: &str,
        name: &str,
    ) -> zbus::Result<T>
    where
        T: TryFrom<OwnedVariant>,
        T::Error: Into<zbus::Error>,
    {
        let properties = Some("org.freedesktop.DBus.Properties");
        let asked = (interface, name);
        let told = self.connection.call_method(Some(BUS), unit, properties, "Get", &asked).await?;
        let value: OwnedVariant = told.body().deserialize()?;
        T::try_from(value).map_err(Into::into)
    }

    async fn load(&self, name: &str) -> zbus::Result<OwnedObjectPath> {
        self.call("LoadUnit", &(name,)).await?.body().deserialize()
    }

    async fn unit(&self, name: &UnitName) -> zbus::Result<Option<Unit>> {
        let path = self.load(name.as_str()).await?;
        let text = async |property| self.property::<String>(&path, UNIT_INTERFACE, property).await;
        let load_state = text("LoadState").await?;
        if load_state == "not-found" {
            return Ok(None);
        }
        if !["loaded", "masked"].contains(&load_state.as_str()) {
            let error: (String, String) = self.property(&path, UNIT_INTERFACE, "LoadError").await?;
            return Err(zbus::Error::Failure(format!("it is {load_state}: {}", error.1)));
        }
        let state = text("ActiveState").await?;
        let is_down = is_down(&state);
        let starts =
            if is_down { self.others(&path, &STARTED_WITH_IT, true).await? } else { Vec::new() };
        let stops =
            if is_down { Vec::new() } else { self.others(&path, &STOPPED_WITH_IT, false).await? };
        let mut displaces = self.named(&path, &STOPPED_BY_ITS_START, false).await?;
        for started in &starts {
            displaces.extend(self.named(&started.path, &STOPPED_BY_ITS_START, false).await?);
        }
        let mut needing = self.named(&path, &STOPPED_WITH_IT, false).await?;
        needing.extend(self.named(&path, &WANTING_IT, false).await?);
        let sub_state = text("SubState").await?;
        Ok(Some(Unit {
            id: text("Id").await?,
            file_state: self.file_state(name, &path).await?,
            active: ["active", "activating", "reloading"].contains(&state.as_str()),
            waiting: sub_state.starts_with("auto-restart"),
            stopping: state == "deactivating",
            sub_state,
            is_own: self.is_own(&path).await,
            ends_by_itself: self.ends_by_itself(name, &path).await?,
            stops: names(stops),
            starts: names(starts),
            needed_by: names(needing),
            displaces: names(displaces),
            triggers: names(self.named(&path, &["TriggeredBy"], false).await?),
            partners: self.partners(name, &path).await?,
        }))
    }

    async fn service(&self, name: &UnitName) -> zbus::Result<ServiceState> {
        let path = self.load(name.as_str()).await?;
        Ok(ServiceState {
            status: self.property(&path, SERVICE_INTERFACE, "StatusText").await?,
            main_pid: self.property(&path, SERVICE_INTERFACE, "MainPID").await?,
            restarts: self.property(&path, SERVICE_INTERFACE, "NRestarts").await?,
        })
    }

    /// From the disk: what the manager remembers is as old as its last reload.
    async fn file_state(&self, name: &UnitName, path: &OwnedObjectPath) -> zbus::Result<String> {
        match self.call("GetUnitFileState", &(name.as_str(),)).await {
            Ok(told) => told.body().deserialize(),
            Err(error) if NO_FILE.iter().any(|kind| is(&error, kind)) => {
                self.property(path, UNIT_INTERFACE, "UnitFileState").await
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the process that asks runs in the unit.
    async fn is_own(&self, path: &OwnedObjectPath) -> bool {
        let own = match self.call("GetUnitByPID", &(0_u32,)).await {
            Ok(told) => told.body().deserialize::<OwnedObjectPath>().ok(),
            // It runs in none.
            Err(_) => None,
        };
        own.as_ref() == Some(path)
    }

    async fn ends_by_itself(&self, name: &UnitName, path: &OwnedObjectPath) -> zbus::Result<bool> {
        if !name.as_str().ends_with(".service") {
            return Ok(false);
        }
        let kind: String = self.property(path, SERVICE_INTERFACE, "Type").await?;
        let remains: bool = self.property(path, SERVICE_INTERFACE, "RemainAfterExit").await?;
        Ok(kind == "oneshot" && !remains)
    }

    /// The units that stand in these properties, those that are down or those that are not. Of what is down
    /// only what could be started; slices only hold others.
    async fn named(
        &self,
        path: &OwnedObjectPath,
        properties: &[&str],
        down: bool,
    ) -> zbus::Result<Vec<Other>> {
        let mut names = BTreeSet::new();
        for property in properties {
            names.extend(self.property::<Vec<String>>(path, UNIT_INTERFACE, property).await?);
        }
        names.retain(|name| name.rsplit('.').next() != Some("slice"));
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = names.into_iter().collect();
        let listed = self.call("ListUnitsByNames", &(names,)).await?;
        let listed: Vec<Listed> = listed.body().deserialize()?;
        let wanted = |unit: &Listed| {
            if down { is_down(&unit.3) && unit.2 == "loaded" } else { !is_down(&unit.3) }
        };
        let others = listed.into_iter().filter(wanted);
        Ok(others.map(|unit| Other { name: unit.0, path: unit.6 }).collect())
    }

    /// The same, and what stands in these properties of those, and so on; without the unit itself.
    async fn others(
        &self,
        path: &OwnedObjectPath,
        properties: &[&str],
        down: bool,
    ) -> zbus::Result<Vec<Other>> {
        let mut seen = HashSet::from([path.clone()]);
        let mut found: Vec<Other> = Vec::new();
        let mut next = vec![path.clone()];
        while let Some(path) = next.pop() {
            for other in self.named(&path, properties, down).await? {
                if seen.len() > MANY {
                    let why = format!("more than {MANY} units hang together with it");
                    return Err(zbus::Error::Failure(why));
                }
                if seen.insert(other.path.clone()) {
                    next.push(other.path.clone());
                    found.push(other);
                }
            }
        }
        Ok(found)
    }

    /// Others whose links would go with the unit's own.
    async fn partners(&self, name: &UnitName, path: &OwnedObjectPath) -> zbus::Result<Vec<String>> {
        let links: Vec<String> = match self.call("GetUnitFileLinks", &(name.as_str(), false)).await
        {
            Ok(told) => told.body().deserialize()?,
            // Masked, or without a file: then there are none.
            Err(_) => return Ok(Vec::new()),
        };
        let names: BTreeSet<&str> =
            links.iter().filter_map(|link| link.rsplit('/').next()).collect();
        let mut partners = Vec::new();
        for link in names {
            // An alias is the unit itself.
            if link != name.as_str() && self.load(link).await? != *path {
                partners.push(link.to_owned());
            }
        }
        Ok(partners)
    }

    /// Starts or stops it; the inner error is systemd's reason.
    async fn bring(
        &self,
        name: &UnitName,
        active: bool,
        patience: Duration,
    ) -> zbus::Result<Result<(), String>> {
        let (method, verb, limit) = if active {
            ("StartUnit", "start", "TimeoutStartUSec")
        } else {
            ("StopUnit", "stop", "TimeoutStopUSec")
        };
        let path = self.load(name.as_str()).await?;
        // Not every kind of unit has a limit. A stop has it twice: for asking, and for killing.
        let own = self.property::<u64>(&path, SERVICE_INTERFACE, limit).await;
        let own = own.map_or(JOB, |limit| Duration::from_micros(limit).saturating_mul(2));
        let limit = own.max(JOB).min(patience);
        let Ok(result) = tokio::time::timeout(limit, self.job(method, name)).await else {
            let seconds = limit.as_secs();
            return Ok(Err(format!("it did not {verb} within {seconds} seconds, and still tries")));
        };
        let result = result?;
        if active && result == "done" {
            tokio::time::sleep(SETTLE).await;
        }
        let Some(unit) = self.unit(name).await? else {
            return Ok(Err(format!("it is not there any more after the job to {verb} it")));
        };
        let again = active && (unit.waiting || self.restarts(&path).await > 0);
        if result == "done" && unit.active == active && !unit.stopping && !again {
            return Ok(Ok(()));
        }
        let mut why = if result == "done" {
            format!("it is {} right after it was told to {verb}", unit.sub_state)
        } else {
            format!("it did not {verb}: systemd's job ended as '{result}'")
        };
        if again {
            why.push_str(", and is started again by systemd");
        }
        if active {
            why.push_str(&self.reason(&path).await);
        }
        Ok(Err(why))
    }

    async fn restarts(&self, path: &OwnedObjectPath) -> u32 {
        // Only services are started again.
        self.property(path, SERVICE_INTERFACE, "NRestarts").await.unwrap_or(0)
    }

    /// What systemd knows of a unit that did not come up; nothing for what is not a service.
    async fn reason(&self, path: &OwnedObjectPath) -> String {
        let mut why = String::new();
        if let Ok(false) = self.property(path, UNIT_INTERFACE, "ConditionResult").await {
            why.push_str(", because one of its conditions is not met");
        }
        if let Ok(result) = self.property::<String>(path, SERVICE_INTERFACE, "Result").await
            && result != "success"
        {
            why = format!("{why}, with result '{result}'");
        }
        let code = self.property::<i32>(path, SERVICE_INTERFACE, "ExecMainCode").await;
        let status = self.property::<i32>(path, SERVICE_INTERFACE, "ExecMainStatus").await;
        // `si_code` of waitid(2): exited, killed, dumped core.
        if let (Ok(code @ 1..=3), Ok(status)) = (code, status) {
            let end = if code == 1 { "ended with status" } else { "was killed by signal" };
            why = format!("{why}; its process {end} {status}");
        }
        why
    }

    /// Begins a job and waits for its end, of which the manager tells who has subscribed.
    async fn job(&self, method: &str, name: &UnitName) -> zbus::Result<String> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(BUS)
            .path(MANAGER)
            .interface(MANAGER_INTERFACE)
            .member("JobRemoved")
            .build()?;
        let mut ended = pin!(MessageStream::for_match_rule(rule, &self.connection, None).await?);
        self.call("Subscribe", &()).await?;
        let begun = self.call(method, &(name.as_str(), "replace")).await?;
        let job: OwnedObjectPath = begun.body().deserialize()?;
        while let Some(message) = poll_fn(|cx| ended.as_mut().poll_next(cx)).await {
            let message = message?;
            let body = message.body();
            let (_, removed, _, result): (u32, OwnedObjectPath, String, String) =
                body.deserialize()?;
            if removed == job {
                return Ok(result);
            }
        }
        Ok("lost".to_owned())
    }
}

/// Another unit.
struct Other {
    name: String,
    path: OwnedObjectPath,
}

/// Each name once, in their order.
fn names(others: Vec<Other>) -> Vec<String> {
    let names: BTreeSet<String> = others.into_iter().map(|other| other.name).collect();
    names.into_iter().collect()
}

/// In systemd's words for `ActiveState`.
fn is_down(state: &str) -> bool {
    ["inactive", "failed"].contains(&state)
}

/// A line of `ListUnitsByNames`: name, description, load state, active state, sub-state, and more.
type Listed =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Whether the bus answered with an error of this name.
fn is(error: &zbus::Error, kind: &str) -> bool {
    if let zbus::Error::FDO(error) = error {
        return zbus::DBusError::name(error.as_ref()).as_str() == kind;
    }
    matches!(error, zbus::Error::MethodError(name, ..) if name.as_str() == kind)
}
