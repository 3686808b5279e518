//! An agent's program in memory, which is another the moment it is replaced: so there is no trial.

use std::sync::{Mutex, PoisonError};

use nexplane_core::plan::Check;

use super::own_program::{Build, OwnProgram, Standing};
use super::{HostError, HostPath};
use crate::release::Version;

/// The program that runs in memory at first, and the release that there is for it.
pub const BUILDS: [(&str, char); 2] = [("0.1.0", '1'), ("0.2.0", '2')];

/// A program in memory.
#[derive(Debug)]
pub struct FakeProgram {
    running: Mutex<Build>,
}

impl Default for FakeProgram {
    fn default() -> Self {
        let [(version, digit), _] = BUILDS;
        Self { running: Mutex::new(build(version, digit, None)) }
    }
}

fn build(version: &str, digit: char, key: Option<&str>) -> Build {
    Build {
        version: version.parse().expect("it is a version"),
        sha256: digit.to_string().repeat(64),
        size: 7,
        signed_by: key.map(str::to_owned),
    }
}

impl OwnProgram for FakeProgram {
    fn running(&self) -> Result<Build, HostError> {
        Ok(self.running.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    fn release(&self, version: &Version) -> Result<Build, HostError> {
        let [_, (newer, digit)] = BUILDS;
        let release = build(newer, digit, Some("00112233aabbccdd"));
        let none = || HostError::Item {
            item: format!("nexplane-agent {version}"),
            why: "there is no such release".to_owned(),
        };
        (release.version == *version).then_some(release).ok_or_else(none)
    }

    fn fetch(&self, _: &Build) -> Result<(), HostError> {
        Ok(())
    }

    fn is_kept(&self, _: &Build) -> Result<bool, HostError> {
        Ok(true)
    }

    fn replace(&self, from: &Build, to: &Build) -> Result<(), HostError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if *running != *from {
            return Err(HostError::Moved { path: path() });
        }
        *running = to.clone();
        Ok(())
    }

    fn standing(&self) -> Result<Standing, HostError> {
        Ok(Standing::None)
    }

    fn confirm(&self) -> Result<(), HostError> {
        Ok(())
    }

    fn put_back(&self, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    fn settled(&self) -> Result<(), HostError> {
        Ok(())
    }

    fn noted(&self) -> Result<(), HostError> {
        Ok(())
    }
}

/// Where an installed agent is, for sentences.
pub(crate) fn path() -> HostPath {
    "/usr/local/bin/nexplane-agent".parse().expect("the path is normal and absolute")
}
