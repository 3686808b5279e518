//! What installing and removing a package share: what is there, what apt would do, and the way there and back.
//!
//! Before anything is changed apt is asked what it would do: every package that would be installed, replaced or
//! removed stands in the plan, and what is done is exactly that, with every version named. What the agent's
//! operations on packages know of Debian is used here as well (`host::debian`). Deliberately absent: refreshing
//! the lists of what can be had, keeping packages for the way back (the agent does), removing what nobody needs
//! any more, purging anything, and repairing what somebody else interrupted.

use std::collections::{BTreeMap, BTreeSet};

use nexplane_agent::host::debian;
use nexplane_agent::host::package::{Effect, Package, Wish, redacted};
use nexplane_agent::host::{PackageName, PackageVersion};
use nexplane_core::plan::{DiffLine, Field, TargetRef};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::{Apt, Command, How};
use super::end::End;
use super::host::is_host;
use super::package_check::rules;
use super::package_lock::quiet;
use super::session::Session;
use crate::sdk::{Advice, ConnectorError, DigestKey, ErrorKind, StepContext, TargetState, line};

/// `env(1)` of a program that is not there.
const NO_PROGRAM: u32 = 127;
/// What apt says of packages that an earlier version would replace.
const DOWNGRADED: &str = "The following packages will be DOWNGRADED:";
/// Most packages of one plan.
const MOST: usize = 500;

/// Where an action leads.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// In this version, or in whichever.
    Installed(Option<&'a PackageVersion>),
    Removed,
}

/// What is there of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// The target is not the host of the connection.
    Elsewhere,
    /// Why it can be neither installed nor removed.
    Refused(String),
    Known(Known),
}

/// A package, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub name: PackageName,
    pub own: Kept,
    /// Other packages that the way to the goal changes, as they are now.
    pub others: BTreeMap<PackageName, Kept>,
    /// Every change on the way to the goal; empty when it is there, but for the mark.
    pub plan: Vec<Effect>,
    /// Of them those that an earlier version would replace.
    pub earlier: Vec<String>,
}

/// What comes back of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub version: Option<PackageVersion>,
    /// Its installation or removal was brought to an end.
    pub is_settled: bool,
    /// Only there because another one needs it.
    pub is_auto: bool,
    pub is_held: bool,
    /// Why the distribution says that the host needs it.
    pub needed: Option<String>,
}

impl Kept {
    /// Why the package of this name is not removed.
    pub fn needed_for(&self, name: &PackageName) -> Option<String> {
        let way_in = "people and the connection reach the host through it";
        let why = name.kept().or_else(|| name.is_way_in().then_some(way_in));
        why.map(str::to_owned).or_else(|| self.needed.clone())
    }
}

impl TargetState for State {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Elsewhere => Vec::new(),
            Self::Refused(why) => vec![Field::new("refused", why.as_str())],
            Self::Known(known) => {
                let mut fields = vec![
                    Field::new("version", shown(known.own.version.as_ref())),
                    Field::new("complete", known.own.is_settled),
                    Field::new("automatic", known.own.is_auto),
                    Field::new("held", known.own.is_held),
                ];
                fields.extend(known.others.iter().map(|(name, kept)| {
                    Field::new(format!("other_{name}"), shown(kept.version.as_ref()))
                }));
                let plan: Vec<_> = known.plan.iter().map(ToString::to_string).collect();
                if !plan.is_empty() {
                    fields.push(Field::new("transaction", plan));
                }
                fields
            }
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Elsewhere => json!({ "host": false }),
            Self::Refused(_) => json!({ "package": false }),
            // Once the goal is reached, what else becomes of its companions is not the action's business.
            Self::Known(known) if known.plan.is_empty() => json!({ "own": known.own }),
            Self::Known(known) => {
                json!({ "own": known.own, "others": known.others, "plan": known.plan })
            }
        }
    }
}

fn shown(version: Option<&PackageVersion>) -> Value {
    version.map_or(Value::Null, |version| json!(version))
}

/// Reads the package, and asks apt for the way to the goal.
pub async fn snapshot(
    session: &Session,
    target: &TargetRef,
    name: &PackageName,
    goal: Goal<'_>,
) -> Result<State, ConnectorError> {
    if !is_host(target)? {
        return Ok(State::Elsewhere);
    }
    quiet(session).await?;
    if !name.is_of_debian() {
        let why = "Debian's packages have no capital letters and no '_'";
        return Ok(State::Refused(format!("there is no package {name}: {why}")));
    }
    let own = match read(session, &[name.clone()].into()).await? {
        Ok(mut found) => found.remove(name),
        Err(why) => return Ok(State::Refused(why)),
    };
    let own = own.ok_or_else(|| not_understood("dpkg-query"))?;
    let mut known = Known {
        name: name.clone(),
        own,
        others: BTreeMap::new(),
        plan: Vec::new(),
        earlier: Vec::new(),
    };
    if goal.is_in(&known.own) {
        return Ok(State::Known(known));
    }
    // apt would only say that it cannot be done.
    if let (Goal::Removed, Some(why)) = (goal, known.own.needed_for(name)) {
        return Ok(State::Refused(format!("{name} is not removed: {why}")));
    }
    let (plan, earlier) = match simulate(session, &goal.wish(name)).await? {
        Ok(found) => found,
        Err(why) => return Ok(State::Refused(why)),
    };
    // A word that names no package can mean another one to apt, such as `name-`.
    let Some(planned) = plan.iter().find(|effect| effect.name == *name) else {
        return Ok(State::Refused(format!("apt knows no way to do that to {name}")));
    };
    let ends_well = match goal {
        Goal::Installed(version) => {
            planned.after.is_some() && version.is_none_or(|it| planned.after.as_ref() == Some(it))
        }
        Goal::Removed => planned.after.is_none(),
    };
    if !ends_well {
        return Ok(State::Refused(format!("apt would {planned} instead")));
    }
    if plan.len() > MOST {
        let count = plan.len();
        return Ok(State::Refused(format!(
            "it would change {count} packages; {MOST} are the most"
        )));
    }
    let others = plan.iter().map(|effect| effect.name.clone()).filter(|other| other != name);
    match read(session, &others.collect()).await? {
        Ok(others) => known.others = others,
        Err(why) => return Ok(State::Refused(why)),
    }
    (known.plan, known.earlier) = (plan, earlier);
    Ok(State::Known(known))
}

/// Reads what the plan of a before-state is about, without a new plan, when no package manager is at work.
async fn look(session: &Session, before: &Known) -> Result<Known, ConnectorError> {
    quiet(session).await?;
    reread(session, before).await
}

async fn reread(session: &Session, before: &Known) -> Result<Known, ConnectorError> {
    let names = before.others.keys().chain([&before.name]).cloned().collect();
    let mut found = read(session, &names).await?.map_err(ConnectorError::conflict)?;
    let own = found.remove(&before.name).ok_or_else(|| not_understood("dpkg-query"))?;
    let name = before.name.clone();
    Ok(Known { name, own, others: found, plan: Vec::new(), earlier: Vec::new() })
}

/// What dpkg and apt say of these, each of them; or why that cannot be told.
async fn read(
    session: &Session,
    names: &BTreeSet<PackageName>,
) -> Result<Result<BTreeMap<PackageName, Kept>, String>, ConnectorError> {
    if names.is_empty() {
        return Ok(Ok(BTreeMap::new()));
    }
    let architecture = session.ask(&Command::Architecture).await?;
    if architecture.status == NO_PROGRAM {
        return Ok(Err(
            "the host has no dpkg: only packages of Debian and its kin are managed".to_owned()
        ));
    }
    let list: Vec<_> = names.iter().cloned().collect();
    let answer = session.ask(&Command::Packages(&list)).await?;
    // 1: one of them is not known at all.
    if answer.status > 1 {
        return Ok(Err(complaint("dpkg-query", &answer.errors)));
    }
    let records = match debian::records(&answer.text(), architecture.text().trim()) {
        Ok(records) => records,
        Err(error) => return Ok(Err(error.sentence())),
    };
    let mut found: BTreeMap<_, _> = records.into_iter().collect();
    let there: Vec<_> = list
        .iter()
        .filter(|name| found.get(*name).is_some_and(|package| package.version.is_some()))
        .cloned()
        .collect();
    let mut automatic = BTreeSet::new();
    if !there.is_empty() {
        let said = session.read(&Command::Automatic(&there)).await?;
        automatic.extend(said.lines().map(|line| line.trim().to_owned()));
    }
    Ok(Ok(list
        .into_iter()
        .map(|name| {
            let absent = || Package { is_settled: true, ..Package::default() };
            let Package { version, is_settled, is_held, needed, .. } =
                found.remove(&name).unwrap_or_else(absent);
            let is_auto = automatic.contains(name.as_str());
            let needed = needed.map(str::to_owned);
            (name, Kept { version, is_settled, is_auto, is_held, needed })
        })
        .collect()))
}

/// What apt would do, and which packages an earlier version would replace; or what it complains of.
type Simulated = Result<(Vec<Effect>, Vec<String>), String>;

async fn simulate(session: &Session, wish: &Wish) -> Result<Simulated, ConnectorError> {
    let apt = match Apt::new(wish, How::Simulate) {
        Ok(Some(apt)) => apt,
        Ok(None) => return Ok(Ok((Vec::new(), Vec::new()))),
        Err(error) => return Ok(Err(error.sentence())),
    };
    let answer = session.ask(&Command::Apt(&apt)).await?;
    if answer.status == NO_PROGRAM {
        return Ok(Err(
            "the host has no apt: only packages of Debian and its kin are managed".to_owned()
        ));
    }
    if !answer.ok() {
        let said = complaint("apt", &answer.errors);
        return Ok(Err(format!(
            "{said}; what the host's sources have is known as of the last 'apt-get update' on the host"
        )));
    }
    let text = answer.text();
    let earlier = text.split_once(DOWNGRADED).map_or("", |(_, rest)| rest);
    let earlier = earlier.lines().skip(1).take_while(|line| line.starts_with("  "));
    let earlier = earlier.flat_map(str::split_whitespace).map(str::to_owned).collect();
    Ok(debian::effects(&text).map(|plan| (plan, earlier)).map_err(|error| error.sentence()))
}

/// The lines with which a program says what is wrong, bounded, and without what opens an address.
fn complaint(program: &str, errors: &str) -> String {
    let is_it = |line: &&str| line.starts_with("E: ") || line.starts_with("dpkg-query: ");
    let lines = errors.lines().filter(is_it).map(|line| redacted(line.trim()));
    let said: String = lines.collect::<Vec<_>>().join("; ").chars().take(700).collect();
    if said.is_empty() { format!("{program} failed and did not say why") } else { said }
}

impl Goal<'_> {
    /// Whether a package is so; whether it was asked for is another question.
    fn is_in(self, kept: &Kept) -> bool {
        match self {
            Self::Installed(version) => {
                let is_right = version.is_none() || kept.version.as_ref() == version;
                kept.version.is_some() && kept.is_settled && is_right
            }
            Self::Removed => kept.version.is_none(),
        }
    }

    fn wish(self, name: &PackageName) -> Wish {
        match self {
            Self::Installed(version) => {
                Wish { install: [(name.clone(), version.cloned())].into(), ..Wish::default() }
            }
            Self::Removed => Wish { remove: [name.clone()].into(), ..Wish::default() },
        }
    }
}

impl Known {
    fn all(&self) -> impl Iterator<Item = (&PackageName, &Kept)> {
        self.others.iter().chain([(&self.name, &self.own)])
    }

    pub fn get(&self, name: &PackageName) -> Option<&Kept> {
        if *name == self.name { Some(&self.own) } else { self.others.get(name) }
    }

    /// The versions that the plan leaves: those of its packages, and what the others are anyhow.
    fn after(&self, name: &PackageName) -> Option<&PackageVersion> {
        match self.plan.iter().find(|effect| effect.name == *name) {
            Some(effect) => effect.after.as_ref(),
            None => self.get(name).and_then(|kept| kept.version.as_ref()),
        }
    }

    /// Which of those that are there then are only there because others need them.
    fn marks_after(&self, goal: Goal<'_>) -> BTreeMap<PackageName, bool> {
        let there = self.all().filter(|(name, _)| self.after(name).is_some());
        there
            .map(|(name, kept)| {
                let is_own = *name == self.name && matches!(goal, Goal::Installed(_));
                (name.clone(), !is_own && (kept.version.is_none() || kept.is_auto))
            })
            .collect()
    }

    fn marks(&self) -> BTreeMap<PackageName, bool> {
        let there = self.all().filter(|(_, kept)| kept.version.is_some());
        there.map(|(name, kept)| (name.clone(), kept.is_auto)).collect()
    }

    /// Whether `now` is where the plan leads.
    pub fn is_reached(&self, now: &Self, goal: Goal<'_>) -> bool {
        let versions = self.all().all(|(name, _)| {
            now.get(name).is_some_and(|it| it.version.as_ref() == self.after(name))
        });
        let is_marked = matches!(goal, Goal::Removed) || !now.own.is_auto;
        versions && goal.is_in(&now.own) && is_marked
    }

    fn is_as_before(&self, now: &Self) -> bool {
        self.all().all(|(name, kept)| now.get(name) == Some(kept))
    }

    /// Whether each package is as here or as the plan leaves it, so that nobody else was at it.
    fn check_between(&self, now: &Self) -> Result<(), ConnectorError> {
        for (name, kept) in self.all() {
            let Some(found) = now.get(name) else { continue };
            let is_known =
                found.version == kept.version || found.version.as_ref() == self.after(name);
            // A hold of what was not there is forgotten with it.
            let is_held =
                kept.version.is_some() && found.version.is_some() && found.is_held != kept.is_held;
            if !is_known || is_held {
                return Err(ConnectorError::conflict(format!(
                    "somebody changed the package {name} since it was read; nothing was changed: plan again"
                )));
            }
        }
        Ok(())
    }

    /// What is left to do so that each package has the version that `wanted` says.
    fn left(&self, wanted: impl Fn(&PackageName) -> Option<PackageVersion>) -> Vec<Effect> {
        let effects = self.all().map(|(name, found)| Effect {
            name: name.clone(),
            before: found.version.clone(),
            after: wanted(name),
        });
        let mut left: Vec<_> = effects.filter(|effect| effect.before != effect.after).collect();
        left.sort();
        left
    }

    /// The lines of the plan.
    pub fn diff(&self, target: &TargetRef, goal: Goal<'_>) -> Vec<DiffLine> {
        let mut diff: Vec<_> = self
            .plan
            .iter()
            .map(|Effect { name, before, after }| {
                let [before, after] = [before, after].map(|version| shown(version.as_ref()));
                line(target, format!("package {name}"), before, after)
            })
            .collect();
        if self.own.is_auto && matches!(goal, Goal::Installed(_)) {
            diff.push(line(target, format!("package {} automatic", self.name), true, false));
        }
        diff
    }
}

pub fn known(state: &State) -> Result<&Known, ConnectorError> {
    match state {
        State::Known(known) => Ok(known),
        State::Refused(why) => Err(ConnectorError::conflict(format!("{why}; nothing was changed"))),
        State::Elsewhere => Err(ConnectorError::invalid(
            "the target is another host than the one of the connection; nothing was changed",
        )),
    }
}

/// Reads what the plan of `before` is about.
pub async fn observe(
    session: &Session,
    target: &TargetRef,
    name: &PackageName,
    goal: Goal<'_>,
    before: &State,
) -> Result<State, ConnectorError> {
    let State::Known(before) = before else {
        return snapshot(session, target, name, goal).await;
    };
    let now = look(session, before).await?;
    if before.is_reached(&now, goal) {
        Ok(State::Known(now))
    } else {
        snapshot(session, target, name, goal).await
    }
}

/// Reads whether everything that `before` is about is as it was. What apt would do today is not asked then: with other
/// lists of what can be had it would be something else.
pub async fn look_back(
    session: &Session,
    target: &TargetRef,
    name: &PackageName,
    goal: Goal<'_>,
    before: &State,
) -> Result<State, ConnectorError> {
    if let State::Known(known) = before
        && known.is_as_before(&look(session, known).await?)
    {
        return Ok(before.clone());
    }
    snapshot(session, target, name, goal).await
}

/// Whether `now`, as [`observe`] read it, is where `before` leads.
pub fn is_done(now: &State, before: &State, goal: Goal<'_>) -> bool {
    match (now, before) {
        (State::Known(now), State::Known(before)) => before.is_reached(now, goal),
        (
            State::Known(_) | State::Elsewhere | State::Refused(_),
            State::Known(_) | State::Elsewhere | State::Refused(_),
        ) => false,
    }
}

/// Does what `before` plans, as far as it is not done.
pub async fn go(
    session: &Session,
    cx: &StepContext,
    before: &State,
    goal: Goal<'_>,
) -> Result<bool, ConnectorError> {
    let (before, end) = (known(before)?, End::of(cx));
    let now = look(session, before).await?;
    if before.is_reached(&now, goal) {
        return Ok(false);
    }
    before.check_between(&now)?;
    // Also when nobody looked at the checks.
    if let Some(refused) = rules(before, goal).into_iter().find(|check| !check.ok) {
        let why = refused.detail;
        return Err(ConnectorError::conflict(format!(
            "{}: {why}; nothing was changed",
            before.name
        )));
    }
    let left = now.left(|name| before.after(name).cloned());
    let changed = carry_out(session, end, &before.name, &left, false).await?;
    mark(session, end, before, &before.marks_after(goal), changed).await?;
    Ok(true)
}

/// Makes every package of the plan as it was.
pub async fn back(
    session: &Session,
    cx: &StepContext,
    before: &State,
) -> Result<bool, ConnectorError> {
    let (before, end) = (known(before)?, End::of(cx));
    let now = look(session, before).await?;
    if before.is_as_before(&now) {
        return Ok(false);
    }
    before.check_between(&now)?;
    for (name, _) in before.others.iter().filter(|(_, kept)| kept.version.is_none()) {
        if now.get(name).is_some_and(|found| found.version.is_some() && !found.is_auto) {
            return Err(ConnectorError::conflict(format!(
                "{name} came with the change, and somebody wants it for itself by now (apt-mark showmanual); nothing \
                 was changed"
            )));
        }
    }
    let left = now.left(|name| before.get(name).and_then(|kept| kept.version.clone()));
    let changed = carry_out(session, end, &before.name, &left, true).await?;
    mark(session, end, before, &before.marks(), changed).await?;
    Ok(true)
}

/// Has apt and dpkg do these and nothing else, with every version named. What is needed is fetched first. Answers
/// whether there was anything to do.
///
/// apt computes what it does anew when it has its lock, and nothing tells it which packages it may remove; so what
/// is removed is left to dpkg, which removes just that, or nothing of it that another package needs.
async fn carry_out(
    session: &Session,
    end: End,
    name: &PackageName,
    plan: &[Effect],
    may_downgrade: bool,
) -> Result<bool, ConnectorError> {
    if plan.is_empty() {
        return Ok(false);
    }
    let wish = Wish { may_downgrade, ..Wish::default() }.exactly(plan);
    let refused =
        |why: String| ConnectorError::conflict(format!("{name}: {why}; nothing was changed"));
    let (found, _) = simulate(session, &wish).await?.map_err(refused)?;
    if found != plan {
        let list = |these: &[Effect]| {
            these.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let why = format!("apt would now [{}] and not [{}]: plan again", list(&found), list(plan));
        return Err(refused(why));
    }
    let gone: Vec<_> = wish.remove.iter().cloned().collect();
    let coming = Wish { remove: BTreeSet::new(), ..wish.clone() };
    let apt = |wish: &Wish, how| match Apt::new(wish, how) {
        Ok(Some(apt)) => Ok(apt),
        Ok(None) => Err(refused("there is nothing to do".to_owned())),
        Err(error) => Err(refused(error.sentence())),
    };
    if coming.install.is_empty() {
        end.check()?;
        session.change(&Command::Remove(&gone), end.left()).await?;
        return Ok(true);
    }
    // What comes may conflict with what goes, so that only apt can do both at once.
    let is_apart = gone.is_empty() || {
        let coming = simulate(session, &coming).await?;
        coming.is_ok_and(|(found, _)| found.iter().eq(plan.iter().filter(|it| it.after.is_some())))
    };
    let first = if is_apart { &coming } else { &wish };
    session.read_within(&Command::Apt(&apt(first, How::Fetch)?), end.left()).await?;
    end.check()?;
    session.change(&Command::Apt(&apt(first, How::CarryOut)?), end.left()).await?;
    if is_apart && !gone.is_empty() {
        let removed = session.change(&Command::Remove(&gone), end.left()).await;
        removed
            .map_err(|error| half_done("not every package that should go was removed", error))?;
    }
    Ok(true)
}

/// Sets the marks that are not so. `changed` says whether something of the call was done before.
async fn mark(
    session: &Session,
    end: End,
    before: &Known,
    wanted: &BTreeMap<PackageName, bool>,
    mut changed: bool,
) -> Result<(), ConnectorError> {
    const WHAT: &str = "not all marks of the packages (apt-mark) may be as they should be";
    let so_far = |changed, error| if changed { half_done(WHAT, error) } else { error };
    let now = reread(session, before).await.map_err(|error| so_far(changed, error))?;
    for automatic in [true, false] {
        let wrong = wanted.iter().filter(|(name, is_auto)| {
            **is_auto == automatic
                && now.get(name).is_some_and(|it| it.version.is_some() && it.is_auto != automatic)
        });
        let packages: Vec<_> = wrong.map(|(name, _)| name.clone()).collect();
        if !packages.is_empty() {
            let set = Command::SetAutomatic { packages: &packages, automatic };
            let done = session.change(&set, end.left()).await;
            done.map_err(|error| so_far(changed, error))?;
            changed = true;
        }
    }
    Ok(())
}

/// A part of the call was done by then.
fn half_done(what: &str, mut error: ConnectorError) -> ConnectorError {
    error.message = format!("the packages were changed, but {what}: {}", error.message);
    error.advice = Advice::OutcomeUnknown;
    error
}

fn not_understood(program: &str) -> ConnectorError {
    let message = format!("{program} gave no answer that is understood");
    ConnectorError::new(ErrorKind::Unexpected, Advice::Later, message)
}
