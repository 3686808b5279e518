//! Packages of a machine in memory: what is installed stands in one of its files, so that whoever puts
//! the files back has put the packages back. What its sources have is beyond the machine, and so is what was
//! kept of it.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::id::JobId;
use serde::{Deserialize, Serialize};

use super::package::{
    Effect, Inventory, Package, PackageManager, PackageName, PackageVersion, Wish, trouble,
};
use super::{FakeHost, Host, HostError, HostPath, Mode};

/// Where it says what is installed.
pub(super) const FILE: &str = "/var/lib/packages.json";
/// What a furnished host has.
pub(super) const INSTALLED: &str =
    r#"{"telnet":{"version":"0.17-44","is_auto":false,"is_residue":false}}"#;
/// Name, version and dependency of everything that can be had, the best version first. What depends on
/// something has configuration, which removing it leaves behind.
const SOURCES: [(&str, &str, Option<&str>); 4] = [
    ("rsync", "3.2.7-1", Some("libpopt0")),
    ("rsync", "3.2.6-4", Some("libpopt0")),
    ("libpopt0", "1.19", None),
    ("telnet", "0.17-44", None),
];

/// What is not on the machine: its sources, as a test has them.
#[derive(Debug, Default)]
pub(super) struct Beyond {
    withdrawn: BTreeSet<(PackageName, PackageVersion)>,
    is_away: bool,
    fetched: u32,
    carried_out: Option<Wish>,
    smuggled: Option<(PackageName, PackageVersion)>,
    kept: BTreeMap<JobId, BTreeMap<PackageName, PackageVersion>>,
}

impl FakeHost {
    /// From now on its sources do not have this version.
    pub fn withdraw(&self, name: &PackageName, version: &PackageVersion) {
        let withdrawn = (name.clone(), version.clone());
        self.beyond(|beyond| beyond.withdrawn.insert(withdrawn));
    }

    /// From now on nothing is fetched from its sources.
    pub fn cut_off(&self) {
        self.beyond(|beyond| beyond.is_away = true);
    }

    /// From now on every transaction brings this along, though no plan says so.
    pub fn smuggle(&self, name: &PackageName, version: &PackageVersion) {
        let smuggled = Some((name.clone(), version.clone()));
        self.beyond(|beyond| beyond.smuggled = smuggled);
    }

    /// What its package manager was told last to do.
    pub fn carried_out(&self) -> Option<Wish> {
        self.beyond(|beyond| beyond.carried_out.clone())
    }

    /// How often something was fetched.
    pub fn fetched(&self) -> u32 {
        self.beyond(|beyond| beyond.fetched)
    }
}

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
            let mut offered = self.available(name)?;
            if let Some(version) = version
                && wish.may_use_kept
                && self.is_kept(name, version)?
            {
                offered.push(version.clone());
            }
            let found = match version {
                Some(version) => offered.iter().find(|other| *other == version),
                None => offered.first(),
            };
            let version = found.ok_or_else(|| trouble(name, "it cannot be had"))?.clone();
            install(&mut world, name, version);
            if let Some(needed) = dependency(name) {
                let there = world.get(&needed).is_some_and(|entry| entry.version.is_some());
                let best = self.available(&needed)?.into_iter().next();
                if let (false, Some(best)) = (there, best) {
                    install(&mut world, &needed, best);
                }
            }
        }
        let is_named = |name: &PackageName| wish.remove.contains(name) || wish.purge.contains(name);
        let is_gone =
            |name: &PackageName| is_named(name) || dependency(name).is_some_and(|it| is_named(&it));
        world.retain(|name, entry| {
            if is_gone(name) {
                entry.is_residue = !wish.purge.contains(name)
                    && leaves_residue(name)
                    && (entry.version.is_some() || entry.is_residue);
                (entry.version, entry.is_auto) = (None, false);
            }
            entry.version.is_some() || entry.is_residue
        });
        Ok(world)
    }

    fn reach(&self) -> Result<(), HostError> {
        self.0.beyond(|beyond| {
            beyond.fetched += 1;
            if beyond.is_away { Err(trouble("mirror", "it does not answer")) } else { Ok(()) }
        })
    }
}

impl PackageManager for FakePackages<'_> {
    fn called(&self) -> &'static str {
        "of a machine in memory"
    }

    fn packages(
        &self,
        names: &BTreeSet<PackageName>,
    ) -> Result<BTreeMap<PackageName, Package>, HostError> {
        let world = self.world()?;
        let package = |name: &PackageName| match world.get(name).cloned() {
            Some(Entry { version, is_auto, is_residue }) => Package {
                version,
                is_auto,
                is_residue,
                is_settled: true,
                leaves_residue: leaves_residue(name),
                ..Package::default()
            },
            None => Package { is_settled: true, ..Package::default() },
        };
        Ok(names.iter().map(|name| (name.clone(), package(name))).collect())
    }

    fn unsettled(&self) -> Result<Vec<String>, HostError> {
        Ok(Vec::new())
    }

    fn available(&self, name: &PackageName) -> Result<Vec<PackageVersion>, HostError> {
        let offered = SOURCES.iter().filter(|(other, ..)| *other == name.as_str());
        let mut offered: Vec<PackageVersion> =
            offered.filter_map(|(_, version, _)| version.parse().ok()).collect();
        self.0.beyond(|beyond| {
            offered.retain(|version| !beyond.withdrawn.contains(&(name.clone(), version.clone())));
        });
        Ok(offered)
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

    fn inventory(&self) -> Result<Inventory, HostError> {
        let there = self.world()?.into_iter();
        Ok(there
            .filter_map(|(name, entry)| Some((name.to_string(), entry.version?.to_string())))
            .collect())
    }

    fn fetch(&self, _wish: &Wish) -> Result<(), HostError> {
        self.reach()
    }

    fn keep(
        &self,
        job: &JobId,
        versions: &BTreeMap<PackageName, PackageVersion>,
    ) -> Result<(), HostError> {
        for (name, version) in versions {
            if !self.is_kept(name, version)? {
                self.reach()?;
                if !self.available(name)?.contains(version) {
                    return Err(trouble(name, format!("{version} cannot be had")));
                }
            }
            let (name, version) = (name.clone(), version.clone());
            self.0.beyond(|beyond| beyond.kept.entry(*job).or_default().insert(name, version));
        }
        Ok(())
    }

    fn is_kept(&self, name: &PackageName, version: &PackageVersion) -> Result<bool, HostError> {
        let is_it = |kept: &BTreeMap<_, _>| kept.get(name) == Some(version);
        Ok(self.0.beyond(|beyond| beyond.kept.values().any(is_it)))
    }

    fn forget(&self, is_needed: &dyn Fn(&JobId) -> bool) -> Result<(), HostError> {
        self.0.beyond(|beyond| beyond.kept.retain(|job, _| is_needed(job)));
        Ok(())
    }

    fn carry_out(&self, wish: &Wish) -> Result<(), HostError> {
        self.0.beyond(|beyond| beyond.carried_out = Some(wish.clone()));
        let mut after = self.after(wish)?;
        if let Some((name, version)) = self.0.beyond(|beyond| beyond.smuggled.clone()) {
            install(&mut after, &name, version);
        }
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

fn leaves_residue(name: &PackageName) -> bool {
    dependency(name).is_some()
}

/// A package that is installed already keeps its mark.
fn install(world: &mut World, name: &PackageName, version: PackageVersion) {
    let earlier = world.get(name).filter(|entry| entry.version.is_some());
    let is_auto = earlier.is_none_or(|entry| entry.is_auto);
    let entry = Entry { version: Some(version), is_auto, is_residue: false };
    world.insert(name.clone(), entry);
}
