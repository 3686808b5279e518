//! How the agent is updated: a signed program takes the place of the one that runs, on trial.
//!
//! ```text
//! believed -> fetched, kept -> trial begun, guard started -> in place -> this process ends
//!   the new program starts -> settles its journal -> the control plane answers a poll of it -> confirmed -> result
//!   or it does not -> the earlier program in place again -> it starts -> says so in its result
//! ```
//!
//! The new program only ever says that it went well, and the earlier one that it did not. Whether it did is guarded
//! by the earlier program: before each start (`nexplane-agent guard`) and, beside it, by a service of its own that
//! ends a trial whose time is over (`nexplane-agent guard --watch`). So it does not matter whether the new program
//! does not start, ends, hangs, or cannot reach the control plane.
//!
//! Deliberately absent: the unit files, which `nexplane-agent install` writes; and every way to an older version
//! but the undo of an update, which goes to the program that is kept.

pub mod gateway;
pub mod installed;
pub mod place;
pub mod trial;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use nexplane_core::job::ReleaseOffer;
use nexplane_core::plan::Check;
use serde::{Deserialize, Serialize};

use self::place::Place;
use self::trial::{Stage, Trial};
use crate::deadman::{Armed, Limit, Watch};
use crate::host::{Build, HostError, OwnProgram, Standing};
use crate::keep::Keep;
use crate::release::key::PublicKey;
use crate::release::{self, Manifest, Signatures, TARGET, Version};

/// What is remembered of the programs that ran: which is the newest, and who signed those that are kept.
const MEMORY: &str = "releases.json";

/// Where releases come from.
pub trait Releases: Send + Sync + std::fmt::Debug {
    /// Manifest and signatures, not believed yet.
    ///
    /// # Errors
    /// A sentence.
    fn offer(&self, version: &Version, target: &str) -> Result<ReleaseOffer, String>;

    /// Writes the program, at most `limit` bytes.
    ///
    /// # Errors
    /// A sentence.
    fn program(
        &self,
        version: &Version,
        target: &str,
        limit: u64,
        to: &mut File,
    ) -> Result<(), String>;
}

/// Starts what guards a trial, beside the agent.
///
/// # Errors
/// A sentence.
pub type StartGuard = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The program of an agent that is a service of its host.
pub struct ServiceProgram {
    pub place: Place,
    /// Where the agent keeps what it must not lose.
    pub keep: Keep,
    /// The file of this process's program.
    pub executable: PathBuf,
    pub version: Version,
    pub keys: Vec<PublicKey>,
    pub limit: Limit,
    pub releases: Arc<dyn Releases>,
    pub start_guard: StartGuard,
    /// Why the agent cannot be updated as it is installed, and what to do.
    pub hindrance: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    pub watch: Arc<dyn Watch>,
    pub running: OnceLock<Build>,
}

impl std::fmt::Debug for ServiceProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceProgram").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What [`ServiceProgram`] remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The newest program that has run here and was not on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Build>,
    /// Ids of release keys by the SHA-256 of what they signed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signed: BTreeMap<String, String>,
}

impl Memory {
    /// # Errors
    /// When it is not readable: then no update is believed to be newer.
    pub fn load(keep: &Keep) -> io::Result<Self> {
        match keep.read(MEMORY)? {
            None => Ok(Self::default()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        }
    }

    fn save(&self, keep: &Keep) -> io::Result<()> {
        let text = serde_json::to_vec(self).expect("what is remembered is a struct of JSON values");
        keep.write(MEMORY, &text)
    }
}

/// Whether a release may take the place of what runs.
///
/// # Errors
/// A sentence that says why not.
pub fn may_follow(
    manifest: &Manifest,
    running: &Build,
    newest: Option<&Build>,
) -> Result<(), String> {
    let Manifest { version, target, .. } = manifest;
    if target != TARGET {
        return Err(format!("it is built for {target}, and the agent here for {TARGET}"));
    }
    let newest = newest.filter(|newest| newest.version > running.version).unwrap_or(running);
    if *version < newest.version {
        return Err(format!(
            "{} has run on this host, and no update goes to an older version: release what is needed under a newer \
             one",
            newest.version
        ));
    }
    if *version == newest.version && manifest.sha256 != newest.sha256 {
        return Err(format!(
            "another program of version {version} has run on this host (SHA-256 {}): release this one under a newer \
             version",
            newest.sha256
        ));
    }
    match &manifest.from {
        Some(from) if running.version < *from => Err(format!(
            "it follows {from} or later, and {} runs here: update to {from} first",
            running.version
        )),
        Some(_) | None => Ok(()),
    }
}

impl ServiceProgram {
    fn believe(&self, version: &Version) -> Result<Build, String> {
        let offer = self.releases.offer(version, TARGET)?;
        let sentence = |error: release::ReleaseError| error.to_string();
        let signatures = Signatures::parse(&offer.signatures).map_err(sentence)?;
        if self.keys.is_empty() {
            return Err(no_keys());
        }
        // Nothing of what a stranger wrote is looked at.
        let signer = signatures.signer(&offer.manifest, &self.keys).map_err(sentence)?;
        let manifest = Manifest::parse(&offer.manifest).map_err(sentence)?;
        if manifest.version != *version {
            let other = manifest.version;
            return Err(format!("the control plane offers {other} in its place"));
        }
        let running = self.running().map_err(|error| error.sentence())?;
        let memory = self.memory().map_err(|error| error.sentence())?;
        may_follow(&manifest, &running, memory.newest.as_ref())?;
        let Manifest { version, sha256, size, .. } = manifest;
        Ok(Build { version, sha256, size, signed_by: Some(signer.id()) })
    }

    fn memory(&self) -> Result<Memory, HostError> {
        Memory::load(&self.keep).map_err(|error| {
            let what = format!("what ran on this host is not known ({MEMORY}: {error})");
            refused(&self.version, what)
        })
    }

    fn io(&self, attempt: &str) -> impl Fn(io::Error) -> HostError {
        let (attempt, version) = (attempt.to_owned(), self.version.clone());
        move |error| refused(&version, format!("could not {attempt}: {error}"))
    }

    fn identify(&self) -> io::Result<Build> {
        let (sha256, size) = release::digest(File::open(&self.executable)?)?;
        // Who signed it is a thing to show; without it nothing is refused.
        let signed = Memory::load(&self.keep).unwrap_or_default().signed;
        let signed_by = signed.get(&sha256).cloned();
        Ok(Build { version: self.version.clone(), sha256, size, signed_by })
    }

    /// Keeps the program that runs.
    fn keep_running(&self, running: &Build) -> io::Result<()> {
        if self.place.has(running)? {
            return Ok(());
        }
        let mut from = File::open(&self.executable)?;
        self.place.keep(running, |to| io::copy(&mut from, to).map(drop))
    }

    /// Begins the trial, has it guarded, and puts the program in place.
    fn begin(&self, from: &Build, to: &Build) -> io::Result<()> {
        self.keep_running(from)?;
        self.place.make_previous(from)?;
        let mut memory = Memory::load(&self.keep)?;
        memory.signed.retain(|sha256, _| *sha256 == from.sha256);
        if let Some(key) = &to.signed_by {
            memory.signed.insert(to.sha256.clone(), key.clone());
        }
        memory.save(&self.keep)?;
        let locked = self.place.trial.lock()?;
        let armed = Armed::new(self.watch.moment(), self.limit);
        let (from, to) = (from.clone(), to.clone());
        locked.write(&Trial { from, to: to.clone(), armed, starts: 0, stage: Stage::Open })?;
        drop(locked);
        let begun = (self.start_guard)()
            .map_err(|why| io::Error::other(format!("nothing guards its trial: {why}")))
            .and_then(|()| self.place.put(&to));
        if let Err(error) = &begun {
            let locked = self.place.trial.lock()?;
            match locked.read()? {
                // It has its name, and that may not be durable.
                Some(trial) if self.place.is_in_place(&to)? => {
                    self.place.end(&locked, trial, &error.to_string())?;
                }
                Some(_) | None => locked.remove()?,
            }
        }
        begun
    }
}

fn refused(version: &Version, why: String) -> HostError {
    HostError::Item { item: format!("nexplane-agent {version}"), why }
}

/// What is said where no key is pinned.
pub fn no_keys() -> String {
    "no release key is pinned on this host, so no update is believed: put [update] keys = [\"…\"] with the public key \
     of whoever builds the agent into config.toml, and restart the agent"
        .to_owned()
}

impl OwnProgram for ServiceProgram {
    fn running(&self) -> Result<Build, HostError> {
        if let Some(running) = self.running.get() {
            return Ok(running.clone());
        }
        let running = self.identify().map_err(self.io("read the agent's own program"))?;
        Ok(self.running.get_or_init(|| running).clone())
    }

    fn checks(&self) -> Vec<Check> {
        let check = |name: &str, result: Result<String, String>| {
            let ok = result.is_ok();
            let (Ok(detail) | Err(detail)) = result;
            Check { name: name.to_owned(), ok, detail }
        };
        let ids = self.keys.iter().map(PublicKey::id).collect::<Vec<_>>().join(", ");
        let keys = if self.keys.is_empty() {
            Err(no_keys())
        } else {
            Ok(format!("the host's owner believes {ids}"))
        };
        let service = (self.hindrance)()
            .map_or_else(|| Ok("the agent is a service of this host".to_owned()), Err);
        let limit_s = self.limit.seconds();
        let trial = match self.standing() {
            Err(error) => Err(error.sentence()),
            Ok(Standing::Open { .. }) => Err("another program is on trial".to_owned()),
            Ok(Standing::None | Standing::Confirmed | Standing::Over { .. }) => Ok(format!(
                "armed: {} comes back by itself when the control plane does not answer the new program within \
                 {limit_s} s",
                self.version
            )),
        };
        vec![check("release_key", keys), check("service", service), check("trial", trial)]
    }

    fn release(&self, version: &Version) -> Result<Build, HostError> {
        self.believe(version).map_err(|why| refused(version, why))
    }

    fn fetch(&self, build: &Build) -> Result<(), HostError> {
        let Build { version, size, .. } = build;
        let fetch = || {
            if self.place.has(build)? {
                return Ok(());
            }
            self.place.keep(build, |to| {
                self.releases.program(version, TARGET, *size, to).map_err(io::Error::other)
            })
        };
        fetch().map_err(|error| refused(version, format!("it could not be fetched: {error}")))
    }

    fn is_kept(&self, build: &Build) -> Result<bool, HostError> {
        self.place.has(build).map_err(self.io("read the programs that are kept"))
    }

    fn replace(&self, from: &Build, to: &Build) -> Result<(), HostError> {
        if !self.is_kept(to)? {
            let why = "its program is not kept on this host any more".to_owned();
            return Err(refused(&to.version, why));
        }
        self.begin(from, to)
            .map_err(|error| refused(&to.version, format!("it could not be put in place: {error}")))
    }

    fn standing(&self) -> Result<Standing, HostError> {
        let trial = self.place.trial.read().map_err(self.io("read the trial"))?;
        let now = self.watch.moment();
        Ok(match trial {
            None => {
                let is_in_place = self.place.is_in_place(&self.running()?);
                if is_in_place.map_err(self.io("read the program in place"))? {
                    Standing::None
                } else {
                    Standing::Over { why: "somebody put another program in its place".to_owned() }
                }
            }
            Some(Trial { stage: Stage::Confirmed, .. }) => Standing::Confirmed,
            Some(trial) => match trial.over(&now) {
                Some(why) => Standing::Over { why },
                None => Standing::Open { left: trial.armed.left(&now) },
            },
        })
    }

    fn confirm(&self) -> Result<(), HostError> {
        let confirm = || {
            let locked = self.place.trial.lock()?;
            let Some(trial) = locked.read()? else { return Ok(()) };
            match trial.over(&self.watch.moment()) {
                None => locked.write(&Trial { stage: Stage::Confirmed, ..trial }),
                Some(why) => Err(io::Error::other(why)),
            }
        };
        confirm().map_err(self.io("end the trial"))
    }

    fn put_back(&self, why: &str) -> Result<(), HostError> {
        let put_back = || {
            let locked = self.place.trial.lock()?;
            match locked.read()? {
                Some(trial) if trial.stage != Stage::Confirmed => {
                    self.place.end(&locked, trial, why)
                }
                Some(_) | None => Ok(()),
            }
        };
        put_back().map_err(self.io("put the earlier program back"))
    }

    fn settled(&self) -> Result<(), HostError> {
        let settled = || {
            if !self.place.trial.exists() {
                return Ok(());
            }
            let locked = self.place.trial.lock()?;
            let Some(trial) = locked.read()? else { return Ok(()) };
            match trial.stage {
                Stage::Open => return Ok(()),
                Stage::Confirmed => self.place.forget_all_but(&[&trial.from, &trial.to])?,
                // Until the earlier one is, this is what brings it back.
                Stage::Over { .. } if !self.place.is_in_place(&trial.from)? => return Ok(()),
                // The undo of an update may be tried again; what an update brought is fetched again.
                Stage::Over { .. } if trial.to.version < trial.from.version => {}
                Stage::Over { .. } => self.place.forget(&trial.to)?,
            }
            locked.remove()
        };
        settled().map_err(self.io("forget the trial"))
    }

    fn noted(&self) -> Result<(), HostError> {
        let running = self.running()?;
        let note = || {
            if self.place.trial.exists() {
                return Ok(());
            }
            let mut memory = Memory::load(&self.keep)?;
            if memory.newest.as_ref().is_none_or(|newest| newest.version < running.version) {
                memory.newest = Some(running);
                memory.save(&self.keep)?;
            }
            Ok(())
        };
        note().map_err(self.io("note which program runs"))
    }
}
