//! The state that the operations on packages go from, and come back to.
//!
//! Before the effect it covers the package and every other one that the way there would change, together
//! with what that change is: so what was approved is what is done, and when the host's sources offer
//! something else meanwhile, that is drift. Afterwards it covers the package alone: what else happens to
//! its dependencies is not the operation's business any more.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_core::id::JobId;
use nexplane_core::plan::{DiffLine, Field};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::package_change::exactly;
use crate::host::package::{Effect, Package, Wish};
use crate::host::{
    Access, CONTENT_LIMIT, Host, HostError, HostPath, Ids, Mode, PackageManager, PackageName,
    PackageVersion,
};

/// Most bytes of one package's configuration files together: 4 MiB.
const FILES_LIMIT: usize = 4 * 1024 * 1024;

/// A package, and what goes with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(super) name: PackageName,
    pub(super) package: Kept,
    /// Other packages that the way to the goal changes, as they are now.
    pub(super) others: BTreeMap<PackageName, Kept>,
    /// Every change on the way to the goal; empty when it is there.
    pub(super) plan: Vec<Effect>,
    /// Removing it leaves its configuration behind.
    pub(super) leaves_residue: bool,
    /// It is not there, but its configuration is. None where that makes no difference: what an installation
    /// leaves behind when it is undone is not a difference.
    #[serde(default)]
    pub(super) residue: Option<bool>,
    /// Configuration files that go with it, or are not left as they are.
    pub(super) files: Vec<Saved>,
}

/// What comes back of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub(super) version: Option<PackageVersion>,
    pub(super) is_settled: bool,
    pub(super) is_auto: bool,
    pub(super) is_held: bool,
}

/// A configuration file as it was; none when somebody had removed it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    path: HostPath,
    file: Option<SavedFile>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedFile {
    /// Hexadecimal.
    content: String,
    mode: Mode,
    ids: Ids,
}

impl From<&Package> for Kept {
    fn from(package: &Package) -> Self {
        Self {
            version: package.version.clone(),
            is_settled: package.is_settled,
            is_auto: package.is_auto,
            is_held: package.is_held,
        }
    }
}

impl State {
    /// What the host says of one package, with nothing on the way.
    pub(super) fn of(name: &PackageName, package: &Package) -> Self {
        Self {
            name: name.clone(),
            package: package.into(),
            others: BTreeMap::new(),
            plan: Vec::new(),
            leaves_residue: false,
            residue: None,
            files: Vec::new(),
        }
    }

    /// The same packages and files as they are now. Nothing here purges what was not to be purged, so where a
    /// package was not there, configuration that it has left since is as before.
    pub(super) fn reread(&self, host: &dyn Host) -> Result<Self, HostError> {
        let manager = host.package_manager()?;
        let found = manager.packages(&self.names())?;
        let package = found.get(&self.name).ok_or_else(|| unknown(&self.name))?;
        let was_away = self.package.version.is_none();
        let residue = self.residue.map(|was| package.is_residue && (was || !was_away));
        let mut others: BTreeMap<PackageName, Kept> =
            found.iter().map(|(name, package)| (name.clone(), package.into())).collect();
        others.remove(&self.name);
        let paths = self.files.iter().map(|saved| saved.path.clone());
        let files = read_files(host, paths)?;
        Ok(Self { package: package.into(), others, residue, files, ..self.clone() })
    }

    pub(super) fn names(&self) -> BTreeSet<PackageName> {
        self.others.keys().chain([&self.name]).cloned().collect()
    }

    fn kept(&self) -> impl Iterator<Item = (&PackageName, &Kept)> {
        self.others.iter().chain([(&self.name, &self.package)])
    }

    /// Versions that a package has here, and on the way that begins here.
    fn versions(&self, name: &PackageName) -> Vec<Option<&PackageVersion>> {
        let here = self.kept().filter(|(other, _)| *other == name).map(|(_, k)| k.version.as_ref());
        let there = self.plan.iter().filter(|e| e.name == *name).map(|e| e.after.as_ref());
        here.chain(there).collect()
    }

    /// Whether each package has a version here that it has in one of the two others or on the way
    /// between them. One in the middle of a change counts: what interrupted it is not somebody else.
    pub(super) fn is_between(&self, from: &Self, to: &Self) -> bool {
        self.kept().all(|(name, kept)| {
            let allowed = [from.versions(name), to.versions(name)].concat();
            allowed.contains(&kept.version.as_ref())
        })
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = self.own_fields();
        for (name, kept) in &self.others {
            let mut marks = vec![version(kept.version.as_ref())];
            let words = [
                (kept.is_auto, "automatic"),
                (kept.is_held, "held"),
                (!kept.is_settled, "incomplete"),
            ];
            marks.extend(words.into_iter().filter(|(is_it, _)| *is_it).map(|(_, w)| json!(w)));
            fields.push(Field::new(format!("other_{name}"), marks));
        }
        if !self.plan.is_empty() {
            let plan: Vec<String> = self.plan.iter().map(ToString::to_string).collect();
            fields.push(Field::new("transaction", plan));
        }
        for Saved { path, file } in &self.files {
            let shown = file.as_ref().map(|file| {
                let hash = hex::encode(Sha256::digest(&file.content));
                json!({ "sha256": hash, "mode": file.mode, "uid": file.ids.uid, "gid": file.ids.gid })
            });
            fields.push(Field::new(format!("file_{path}"), shown.unwrap_or(Value::Null)));
        }
        fields
    }

    fn own_fields(&self) -> Vec<Field> {
        let Kept { version: has, is_settled, is_auto, is_held } = &self.package;
        let mut fields =
            vec![Field::new("version", version(has.as_ref())), Field::new("complete", *is_settled)];
        fields.extend(self.residue.map(|is_left| Field::new("configuration_left", is_left)));
        fields.extend([Field::new("automatic", *is_auto), Field::new("held", *is_held)]);
        fields
    }

    /// The package's own lines, then one for each other package, then the files that go.
    pub(super) fn diff(target: &str, before: &Self, after: &Self) -> Vec<DiffLine> {
        let mut lines = super::field_diff(target, &before.own_fields(), &after.own_fields());
        let line = |field: String, before: Value, after: Value| DiffLine {
            target: target.to_owned(),
            field,
            before,
            after,
        };
        for effect in before.plan.iter().filter(|effect| effect.name != before.name) {
            let [was, will] = [&effect.before, &effect.after].map(|text| version(text.as_ref()));
            lines.push(line(format!("other_{}", effect.name), was, will));
        }
        if after.package.version.is_none() {
            let gone = before.files.iter().filter(|saved| saved.file.is_some());
            lines.extend(
                gone.map(|saved| line(format!("file_{}", saved.path), json!("kept"), Value::Null)),
            );
        }
        lines
    }

    /// What has to be done so that it is as here again, given what is there now. What came is removed and never
    /// purged: its configuration, and the data that its own programs would delete then, may be somebody's.
    fn wish(&self, now: &Self) -> (Wish, Vec<Effect>) {
        let mut wish = Wish { may_downgrade: true, may_use_kept: true, ..Wish::default() };
        let mut effects = Vec::new();
        let current: BTreeMap<&PackageName, &Kept> = now.kept().collect();
        for (name, kept) in self.kept() {
            let Some(found) = current.get(name) else { continue };
            if kept.version != found.version {
                let (before, after) = (found.version.clone(), kept.version.clone());
                effects.push(Effect { name: name.clone(), before, after });
            }
            match &kept.version {
                Some(_) if kept.version == found.version => {}
                Some(version) => {
                    wish.install.insert(name.clone(), Some(version.clone()));
                }
                None if found.version.is_some() => {
                    wish.remove.insert(name.clone());
                }
                None => {}
            }
        }
        effects.sort();
        (wish, effects)
    }

    /// Makes everything here as it was, from whatever it is now, and touches nothing else.
    ///
    /// # Errors
    /// [`HostError::Package`] before anything is changed when that would change other packages.
    pub(super) fn restore(&self, host: &dyn Host) -> Result<(), HostError> {
        let manager = host.package_manager()?;
        manager.settle()?;
        let (wish, effects) = self.wish(&self.reread(host)?);
        if !wish.is_empty() {
            exactly(manager.as_ref(), &self.name, &wish, &effects)?;
        }
        mark(manager.as_ref(), self.marks().collect())?;
        self.files.iter().try_for_each(|saved| saved.restore(host))
    }

    /// Keeps for this job what going back to this state installs.
    ///
    /// # Errors
    /// Also when another package that the change brought, replaced or removed was changed by somebody since.
    pub(super) fn provide(&self, host: &dyn Host, job: &JobId) -> Result<(), HostError> {
        let now = self.reread(host)?;
        self.check_others(&now)?;
        let (wish, _) = self.wish(&now);
        let versions =
            wish.install.into_iter().filter_map(|(name, version)| Some((name, version?)));
        host.package_manager()?.keep(job, &versions.collect())
    }

    /// Only what the change did is undone: a later update of what came with it stays, and so does what somebody
    /// wants for itself by now.
    fn check_others(&self, now: &Self) -> Result<(), HostError> {
        let moved = |name: &PackageName, why: String| {
            Err(HostError::Package { package: name.to_string(), why })
        };
        for (name, before) in &self.others {
            let Some(found) = now.others.get(name) else { continue };
            let left = self.plan.iter().find(|effect| effect.name == *name);
            let left = left.map_or(&before.version, |effect| &effect.after);
            if found.version != before.version && found.version != *left {
                let [found, left] = [&found.version, left].map(|text| {
                    text.as_ref().map_or_else(|| "not there".to_owned(), ToString::to_string)
                });
                let why = format!("the change left it {left}, and somebody made it {found} since");
                return moved(name, why);
            }
            if before.version.is_none() && found.version.is_some() && !found.is_auto {
                let why = "it came with the change, and somebody wants it for itself by now";
                return moved(name, why.to_owned());
            }
        }
        Ok(())
    }

    /// Which packages are there only because another one needs them.
    pub(super) fn marks(&self) -> impl Iterator<Item = (PackageName, bool)> {
        let there = self.kept().filter(|(_, kept)| kept.version.is_some());
        there.map(|(name, kept)| (name.clone(), kept.is_auto))
    }

    /// The same for the other packages once the plan is carried out: what comes is only needed.
    pub(super) fn marks_of_others(&self) -> impl Iterator<Item = (PackageName, bool)> {
        let there = self.plan.iter().filter(|effect| effect.after.is_some());
        there.filter_map(|Effect { name, .. }| {
            let kept = self.others.get(name)?;
            Some((name.clone(), kept.version.is_none() || kept.is_auto))
        })
    }
}

/// Sets the marks that are not so.
pub(super) fn mark(
    manager: &dyn PackageManager,
    wanted: BTreeMap<PackageName, bool>,
) -> Result<(), HostError> {
    let now = manager.packages(&wanted.keys().cloned().collect())?;
    let differs = |name| now.get(name).map(|package| package.is_auto);
    let mut wrong = wanted.iter().filter(|(name, is_auto)| differs(name) != Some(**is_auto));
    wrong.try_for_each(|(name, is_auto)| manager.set_auto(name, *is_auto))
}

impl Saved {
    fn restore(&self, host: &dyn Host) -> Result<(), HostError> {
        host.may_touch(&self.path, Access::Content)?;
        let found = host.stat(&self.path)?;
        let Some(SavedFile { content, mode, ids }) = &self.file else {
            return found.map_or(Ok(()), |meta| host.remove(&self.path, &meta));
        };
        let content = hex::decode(content).map_err(|_| HostError::Package {
            package: self.path.to_string(),
            why: "its saved content is damaged".to_owned(),
        })?;
        host.write(&self.path, found.as_ref(), &content, *mode, *ids)
    }
}

/// The files with their contents.
///
/// # Errors
/// When one may not be read by the agent, is not a plain file, or they are too large together.
pub(super) fn read_files(
    host: &dyn Host,
    paths: impl Iterator<Item = HostPath>,
) -> Result<Vec<Saved>, HostError> {
    let mut total = 0;
    let mut files = Vec::new();
    for path in paths {
        host.may_touch(&path, Access::Content)?;
        let view = host.read(&path, CONTENT_LIMIT)?;
        total += view.as_ref().map_or(0, |view| view.content.len());
        if total > FILES_LIMIT {
            return Err(HostError::TooLarge { path, limit: FILES_LIMIT as u64 });
        }
        let file = view.map(|view| SavedFile {
            content: hex::encode(view.content),
            mode: view.meta.mode,
            ids: view.meta.ids,
        });
        files.push(Saved { path, file });
    }
    Ok(files)
}

pub(super) fn unknown(name: &PackageName) -> HostError {
    HostError::UnknownName { kind: "package", name: name.to_string() }
}

fn version(version: Option<&PackageVersion>) -> Value {
    version.map_or(Value::Null, |version| json!(version))
}
