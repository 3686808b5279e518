//! Units, through the bus of systemd: `org.freedesktop.systemd1(5)`.
//!
//! Each question has a connection of its own and ten seconds; starting and stopping have ninety, the
//! manager's own default. Deliberately absent: `systemctl`, and everything else that would start a
//! program.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use zbus::export::futures_core::Stream;
use zbus::wire::DynamicType;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use super::{HostError, Unit, UnitName};

const BUS: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_INTERFACE: &str = "org.freedesktop.systemd1.Service";
const QUESTION: Duration = Duration::from_secs(10);
const JOB: Duration = Duration::from_secs(90);
/// A service that ends right after it was started did not start.
const SETTLE: Duration = Duration::from_secs(1);

/// The service manager of a host, at an address of D-Bus.
#[derive(Debug)]
pub(super) struct Systemd {
    address: String,
}

impl Systemd {
    pub(super) const fn at(address: String) -> Self {
        Self { address }
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
        let job = if active { "StartUnit" } else { "StopUnit" };
        let (result, unit) = self.ask(name, JOB, async |manager| {
            let result = manager.job(job, name).await?;
            if active && result == "done" {
                tokio::time::sleep(SETTLE).await;
            }
            Ok((result, manager.unit(name).await?))
        })?;
        match unit {
            Some(unit) if result == "done" && unit.active == active => Ok(()),
            Some(unit) if result == "done" => {
                Err(trouble(name, format!("it is {} right after the job was done", unit.sub_state)))
            }
            _ => Err(trouble(name, format!("the job to bring it there ended as '{result}'"))),
        }
    }

    pub(super) fn service(&self, name: &UnitName) -> Result<ServiceState, HostError> {
        self.ask(name, QUESTION, async |manager| manager.service(name).await)
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
        let asked = std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| error.to_string())?;
                runtime.block_on(within(limit, async {
                    let address = self.address.as_str();
                    let connection = zbus::connection::Builder::address(address).build().await?;
                    work(Manager { connection }).await
                }))
            });
            asked.join().unwrap_or_else(|_| Err("asking it went wrong".to_owned()))
        });
        asked.map_err(|why| trouble(name, format!("the service manager did not do it: {why}")))
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

    async fn unit(&self, name: &UnitName) -> zbus::Result<Option<Unit>> {
        let loaded = self.call("LoadUnit", &(name.as_str(),)).await?;
        let path: OwnedObjectPath = loaded.body().deserialize()?;
        let get = async |property: &str| -> zbus::Result<String> {
            let asked = (UNIT_INTERFACE, property);
            let interface = Some("org.freedesktop.DBus.Properties");
            let told =
                self.connection.call_method(Some(BUS), &path, interface, "Get", &asked).await?;
            let value: OwnedVariant = told.body().deserialize()?;
            String::try_from(value)
        };
        if get("LoadState").await? == "not-found" {
            return Ok(None);
        }
        let active = get("ActiveState").await?;
        Ok(Some(Unit {
            id: get("Id").await?,
            file_state: get("UnitFileState").await?,
            active: ["active", "activating", "reloading"].contains(&active.as_str()),
            sub_state: get("SubState").await?,
        }))
    }

    async fn service(&self, name: &UnitName) -> zbus::Result<ServiceState> {
        let loaded = self.call("LoadUnit", &(name.as_str(),)).await?;
        let path: OwnedObjectPath = loaded.body().deserialize()?;
        let get = async |property: &str| -> zbus::Result<OwnedVariant> {
            let asked = (SERVICE_INTERFACE, property);
            let interface = Some("org.freedesktop.DBus.Properties");
            let told =
                self.connection.call_method(Some(BUS), &path, interface, "Get", &asked).await?;
            told.body().deserialize()
        };
        Ok(ServiceState {
            status: String::try_from(get("StatusText").await?)?,
            main_pid: u32::try_from(get("MainPID").await?)?,
            restarts: u32::try_from(get("NRestarts").await?)?,
        })
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
