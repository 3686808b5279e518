//! Packages of a machine in memory: what is installed stands in one of its files, so that whoever puts
//! the files back has put the packages back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::package::{Effect, Package, PackageManager, PackageName, PackageVersion, Wish, trouble};
use super::{FakeHost, Host, HostError, HostPath, Mode};

/// Where it says what is installed.
pub(super) const FILE: &str = "/var/lib/packages.json";
/// What a furnished host has.
pub(super) const INSTALLED: &str =
    r#"{"telnet":{"version":"0.17-44","is_auto":false,"is_residue":false}}"#;
/// Name, version and dependency of everything that can be had, the best version first.
const SOURCES: [(&str, &str, Option<&str>); 4] = [
    ("rsync", "3.2.7-1", Some("libpopt0")),
    ("rsync", "3.2.6-4", Some("libpopt0")),
    ("libpopt0", "1.19", None),
    ("telnet", "0.17-44", None),
];

/// The packages of one machine.
#[derive(Debug)]
pub(super) struct FakePackages<'a>(&'a FakeHost);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    version: Option<PackageVersion>,
    is_auto: bool,
    is_residue: bool,
}

type World = BTreeMap<PackageName, Entry>;

impl<'a> FakePackages<'a> {
    /// Only a machine with that file has packages.
    pub(super) fn on(host: &'a FakeHost) -> Result<Box<dyn PackageManager + 'a>, HostError> {
        match host.stat(&file())? {
            Some(_) => Ok(Box::new(Self(host))),
            None => Err(HostError::Unsupported { what: "packages" }),
        }
    }

    fn world(&self) -> Result<World, HostError> {
        let view = self.0.read(&file(), super::CONTENT_LIMIT)?;
        let content = view.map(|view| view.content).unwrap_or_default();
        serde_json::from_slice(&content).map_err(|error| trouble(FILE, error.to_string()))
    }

    fn save(&self, world: &World) {
        let content = serde_json::to_vec(world).expect("a world is a struct of JSON values");
        self.0.put_file(&file(), &content, Mode::from_bits(0o644));
    }

    /// The world after the wish.
    fn after(&self, wish: &Wish) -> Result<World, HostError> {
        let mut world = self.world()?;
        for (name, version) in &wish.install {
            let offered = self.available(name)?;
            let found = match version {
                Some(version) => offered.iter().find(|other| *other == version),
                None => offered.first(),
            };
            let version = found.ok_or_else(|| trouble(name, "it cannot be had"))?.clone();
            install(&mut world, name, version, false);
            if let Some(needed) = dependency(name) {
                let there = world.get(&needed).is_some_and(|entry| entry.version.is_some());
                let best = self.available(&needed)?.into_iter().next();
                if let (false, Some(best)) = (there, best) {
                    install(&mut world, &needed, best, true);
                }
            }
        }
        for name in wish.remove.iter().chain(&wish.purge) {
            world.remove(name);
            world.retain(|other, _| dependency(other).as_ref() != Some(name));
        }
        Ok(world)
    }
}

impl PackageManager for FakePackages<'_> {
    fn packages(
        &self,
        names: &BTreeSet<PackageName>,
    ) -> Result<BTreeMap<PackageName, Package>, HostError> {
        let world = self.world()?;
        let package = |name: &PackageName| match world.get(name).cloned() {
            Some(Entry { version, is_auto, is_residue }) => {
                Package { version, is_auto, is_residue, is_settled: true, ..Package::default() }
            }
            None => Package { is_settled: true, ..Package::default() },
        };
        Ok(names.iter().map(|name| (name.clone(), package(name))).collect())
    }

    fn unsettled(&self) -> Result<Vec<String>, HostError> {
        Ok(Vec::new())
    }

    fn available(&self, name: &PackageName) -> Result<Vec<PackageVersion>, HostError> {
        let offered = SOURCES.iter().filter(|(other, ..)| *other == name.as_str());
        Ok(offered.filter_map(|(_, version, _)| version.parse().ok()).collect())
    }

    /// As the versions of this machine are spelt.
    fn is_before(&self, one: &PackageVersion, other: &PackageVersion) -> Result<bool, HostError> {
        Ok(one < other)
    }

    fn simulate(&self, wish: &Wish) -> Result<Vec<Effect>, HostError> {
        let (before, after) = (self.world()?, self.after(wish)?);
        let names: BTreeSet<&PackageName> = before.keys().chain(after.keys()).collect();
        let version = |world: &World, name: &PackageName| world.get(name)?.version.clone();
        let effects = names.into_iter().map(|name| Effect {
            name: name.clone(),
            before: version(&before, name),
            after: version(&after, name),
        });
        Ok(effects.filter(|effect| effect.before != effect.after).collect())
    }

    fn carry_out(&self, wish: &Wish) -> Result<(), HostError> {
        let after = self.after(wish)?;
        self.save(&after);
        Ok(())
    }

    fn set_auto(&self, name: &PackageName, is_auto: bool) -> Result<(), HostError> {
        let mut world = self.world()?;
        world.get_mut(name).ok_or_else(|| trouble(name, "it is not installed"))?.is_auto = is_auto;
        self.save(&world);
        Ok(())
    }

    fn settle(&self) -> Result<(), HostError> {
        Ok(())
    }
}

fn file() -> HostPath {
    FILE.parse().expect("the path is normal and absolute")
}

fn dependency(name: &PackageName) -> Option<PackageName> {
    let (.., needed) = SOURCES.iter().find(|(other, ..)| *other == name.as_str())?;
    needed.and_then(|needed| needed.parse().ok())
}

/// A package that is installed already keeps its mark unless it was asked for.
fn install(world: &mut World, name: &PackageName, version: PackageVersion, is_auto: bool) {
    let entry = Entry { version: Some(version), is_auto, is_residue: false };
    world.insert(name.clone(), entry);
}
