//! `/change-requests/{id}/context`: what to know before approving a change, beside the change itself.
//!
//! Who may approve is asked of the decision itself, with the roles that people have now. How similar changes
//! ended, and whether undoing one ever worked, are of the read models: a moment late at most. Deliberately
//! absent: any advice. What is not known is said to be unknown.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use nexplane_core::actor::{Actor, Role};
use nexplane_core::aggregate::{Asked, Decider as _, Principal, Reject as _};
use nexplane_core::api::{
    ApprovingView, ChangeContext, ClosedView, PersonName, PlaceView, TimingView, UndoOutlook,
    UndoProof, WayView,
};
use nexplane_core::catalog::Reversibility;
use nexplane_core::change::event::ChangeEvent;
use nexplane_core::change::{Approval, Change, ChangeCommand, ChangeState, Subject, Submission};
use nexplane_core::freeze::{Frozen, InTheWay};
use nexplane_core::id::PersonId;
use nexplane_core::person::PersonState;
use nexplane_core::plan::{DiffLine, Plan};
use nexplane_core::time::Timestamp;
use nexplane_projections::changes::{self, Alike};
use nexplane_projections::{inventory, people, upkeep};
use serde_json::Value;
use uuid::Uuid;

use super::changes::{change_id, load};
use super::{approvers, freezes};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::stream;

/// Targets that are named.
const TARGETS: u32 = 20;
/// Targets whose dependants are looked for: those that a row of the change shows.
const ROOTS: usize = 100;
/// Dependants that are named.
const DEPENDANTS: u32 = 12;
/// Others who may approve that are named.
const OTHERS: usize = 20;
/// People that are asked about for that.
const CANDIDATES: u32 = 60;
/// Delegations to the reader that are asked about.
const DELEGATORS: u32 = 20;
/// The longest value (characters) that a sentence quotes.
const QUOTED: usize = 60;

/// `GET /change-requests/{id}/context`
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Json<ChangeContext>> {
    let id = change_id(&app, &id).await?;
    let state = load(&app, id).await?.state;
    let subject = state.subject().ok_or_else(|| ApiError::not_found("change request"))?;
    let alike = Alike {
        change: id,
        change_type: &subject.draft.change_type,
        connection: subject.draft.connection,
        targets: &subject.draft.targets,
        is_rollback: subject.rollback_of.is_some(),
    };
    let InTheWay { frozen, closed, .. } = freezes::in_the_way(&app, &state).await?;
    let now = stream::now();
    let similar = async { Ok(changes::similar(&app.pool, &alike, now).await?) };
    let (place, approving, undo, similar) = tokio::try_join!(
        place(&app, &state, subject),
        approving(&app, &caller, &state, subject, &frozen),
        undo(&app, &state, subject, &alike),
        similar,
    )?;
    let submission = submission(&state);
    Ok(Json(ChangeContext {
        headline: headline(&app, subject, &place).await?,
        plan_digest: state.plan().map(|plan| plan.digest.clone()),
        timing: TimingView {
            window: subject.draft.window,
            closed: closed.map(|closed| ClosedView { window: closed.window, opens: closed.opens }),
            delay_s: submission.map_or(0, |submission| submission.quorum.delay_s),
            valid_s: submission.map(|submission| submission.quorum.valid_s),
        },
        place,
        approving,
        undo,
        similar,
    }))
}

/// What is in review, or was approved.
const fn submission(state: &ChangeState) -> Option<&Submission> {
    match state {
        ChangeState::Submitted(submission) | ChangeState::Approved(Approval { submission, .. }) => {
            Some(submission)
        }
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => None,
    }
}

async fn place(app: &App, state: &ChangeState, subject: &Subject) -> ApiResult<PlaceView> {
    let draft = &subject.draft;
    let connection = inventory::connection(&app.pool, draft.connection).await?;
    let (targets, critical_targets) = inventory::places(&app.pool, &draft.targets, TARGETS).await?;
    let roots = draft.targets.get(..ROOTS).unwrap_or(&draft.targets);
    let around = inventory::around(&app.pool, roots, DEPENDANTS).await?;
    let environment = connection.as_ref().map(|connection| connection.environment);
    Ok(PlaceView {
        connection: draft.connection,
        environment: state.environment().or(environment),
        connection_name: connection
            .as_ref()
            .map_or_else(|| draft.connection.to_string(), |connection| connection.name.clone()),
        connector: connection.map(|connection| connection.kind),
        targets,
        target_count: small(draft.targets.len()),
        critical_targets,
        dependants: around.nearest,
        dependant_count: around.count,
        critical_dependants: around.critical,
        more_dependants: around.more || draft.targets.len() > ROOTS,
    })
}

async fn headline(app: &App, subject: &Subject, place: &PlaceView) -> ApiResult<String> {
    let change_type = &subject.draft.change_type;
    // An action that this build does not have any more.
    let title = app.targets.action(change_type).map(|action| action.spec().title.clone());
    let what = title.unwrap_or_else(|_| change_type.clone());
    let mut names: Vec<String> = place.targets.iter().take(2).map(|t| t.name.clone()).collect();
    let others = place.target_count.saturating_sub(small(names.len()));
    if others > 0 {
        names.push(if names.is_empty() {
            format!("{others} target{}", if others == 1 { "" } else { "s" })
        } else {
            format!("{others} more")
        });
    }
    let environment = place.environment.map(|label| format!(" ({})", label.as_str()));
    let on = format!(
        "{} on {}{}",
        list(&names, "and"),
        place.connection_name,
        environment.unwrap_or_default()
    );
    let Some(original) = subject.rollback_of else { return Ok(format!("{what}: {on}.")) };
    let undone = changes::titles(&app.pool, &[original]).await?.remove(&original);
    Ok(match undone {
        Some((number, title)) => format!("Undo #{number} “{title}” ({what}): {on}."),
        None => format!("Undo “{what}”: {on}."),
    })
}

async fn approving(
    app: &App,
    caller: &Caller,
    state: &ChangeState,
    subject: &Subject,
    frozen: &[Frozen],
) -> ApiResult<ApprovingView> {
    let now = stream::now();
    let submission = submission(state);
    let own: BTreeSet<PersonId> = subject.editors.iter().copied().chain([subject.author]).collect();
    let others = others(app, caller, state, &own).await?;
    let delegators = match submission {
        Some(_) => people::delegators(&app.pool, caller.person, DELEGATORS).await?,
        None => Vec::new(),
    };
    let given = submission.iter().flat_map(|submission| submission.standing(now));
    let people: BTreeSet<Uuid> = given
        .flat_map(|given| [given.by, given.of()])
        .chain(own.iter().copied())
        .chain([caller.person])
        .chain(others.iter().copied())
        .chain(delegators.iter().copied())
        .map(|person| person.0)
        .collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let names = Names(app.directory.names(&people).await?);

    let mine = Reader { state, at: now, frozen };
    let mut ways = vec![mine.way(&caller.principal)];
    for delegator in delegators {
        let account = app.people.load(delegator).await?.state;
        ways.extend(mine.way_for(&caller.principal, names.person(delegator), account));
    }
    let after_mine = match ways.iter().find_map(|(_, events)| events.as_ref()) {
        Some(events) => after(app, caller, state, events, &names).await?,
        None => None,
    };
    let needed = match submission {
        Some(submission) => needed(app, submission, now, &names).await?,
        None => None,
    };
    let more_others = others.len() > OTHERS;
    let mut others: Vec<PersonName> =
        others.into_iter().take(OTHERS).map(|person| names.person(person)).collect();
    others.sort_by_cached_key(|person| person.name.to_lowercase());
    Ok(ApprovingView {
        rule: submission.map(|submission| submission.quorum.rule.clone()),
        policy_version: submission.map(|submission| submission.quorum.policy_version),
        ways: ways.into_iter().map(|(way, _)| way).collect(),
        four_eyes: four_eyes(subject, &names),
        needed,
        after_mine,
        others,
        more_others,
    })
}

/// Who asks, and when.
struct Reader<'a> {
    state: &'a ChangeState,
    at: Timestamp,
    frozen: &'a [Frozen],
}

/// A way, and what would be recorded if it were gone.
type Way = (WayView, Option<Vec<ChangeEvent>>);

impl Reader<'_> {
    fn digest(&self) -> String {
        self.state.plan().map(|plan| plan.digest.clone()).unwrap_or_default()
    }

    fn way(&self, by: &Principal) -> Way {
        let (digest, frozen) = (self.digest(), self.frozen.to_vec());
        let command = ChangeCommand::Approve { digest, comment: None, frozen };
        let admin = if by.has(Role::Admin) { " and are an admin" } else { "" };
        let because =
            format!("You have the approver role{admin}, and neither wrote nor edited the change.");
        self.asked(by, command, None, by.roles.clone(), because)
    }

    /// Nothing when it does not stand now.
    fn way_for(&self, by: &Principal, delegator: PersonName, account: PersonState) -> Option<Way> {
        let to = by.actor.person()?;
        let roles = account.delegates(to, self.at)?.to_vec();
        let PersonState::Active(active) = &account else { return None };
        let standing = active.delegations.values().filter(|d| d.to == to && d.stands(self.at));
        let until = standing.map(|given| given.until).max()?;
        let because = format!("{} delegated approving to you.", delegator.name);
        let command = ChangeCommand::ApproveFor {
            delegator: delegator.id,
            account: Box::new(account),
            digest: self.digest(),
            comment: None,
            frozen: self.frozen.to_vec(),
        };
        Some(self.asked(by, command, Some((delegator, until)), roles, because))
    }

    fn asked(
        &self,
        by: &Principal,
        command: ChangeCommand,
        delegator: Option<(PersonName, Timestamp)>,
        roles: Vec<Role>,
        because: String,
    ) -> Way {
        let asked = Asked { by: by.clone(), at: self.at, command };
        let (code, because, events) = match Change::decide(self.state, asked) {
            Ok(events) if events.is_empty() => {
                let code = "change.approved_already".to_owned();
                (Some(code), "This approval is given already.".to_owned(), None)
            }
            Ok(events) => (None, because, Some(events)),
            Err(no) => (Some(no.code().to_owned()), no.to_string(), None),
        };
        let (delegator, until) = delegator.unzip();
        let ok = code.is_none();
        (WayView { delegator, until, roles, ok, code, because }, events)
    }
}

/// Others who may approve it themselves, by the decision; one more than are named, when there are more.
async fn others(
    app: &App,
    caller: &Caller,
    state: &ChangeState,
    own: &BTreeSet<PersonId>,
) -> ApiResult<Vec<PersonId>> {
    let ChangeState::Submitted(submission) = state else { return Ok(Vec::new()) };
    let at = stream::now();
    let but: Vec<PersonId> = own.iter().copied().chain([caller.person]).collect();
    let seated: Vec<PersonId> = approvers::open_seats(submission, at)
        .into_iter()
        .flat_map(|(seat, _)| seat.people.iter().copied())
        .collect();
    let mut candidates = Vec::new();
    if !seated.is_empty() {
        candidates = people::approvers(&app.pool, &but, &seated, CANDIDATES).await?;
    }
    for candidate in people::approvers(&app.pool, &but, &[], CANDIDATES).await? {
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    let may = candidates.into_iter().filter(|candidate| {
        let mut roles = vec![Role::Approver];
        roles.extend(candidate.admin.then_some(Role::Admin));
        let by = Principal { actor: Actor::user(candidate.id), roles };
        let digest = submission.plan.digest.clone();
        // That a freeze forbids it is said where it is said when.
        let command = ChangeCommand::Approve { digest, comment: None, frozen: Vec::new() };
        let decided = Change::decide(state, Asked { by, at, command });
        decided.is_ok_and(|events| !events.is_empty())
    });
    Ok(may.map(|candidate| candidate.id).take(OTHERS + 1).collect())
}

/// What is missing, before any further approval; nothing when nothing is.
async fn needed(
    app: &App,
    submission: &Submission,
    at: Timestamp,
    names: &Names,
) -> ApiResult<Option<String>> {
    if submission.is_complete() {
        return Ok(None);
    }
    let given: Vec<_> = submission.standing(at).collect();
    let of = format!(
        "{} of {} approval{} {} given.",
        given.len(),
        submission.quorum.approvals,
        if submission.quorum.approvals == 1 { "" } else { "s" },
        if given.len() == 1 || submission.quorum.approvals == 1 { "is" } else { "are" }
    );
    if let Some(who) = approvers::named(app, submission, at).await? {
        return Ok(Some(format!("{of} Still needed: {who}.")));
    }
    let missing = submission.quorum.approvals.saturating_sub(small(given.len()));
    let admin = submission.quorum.admin && !given.iter().any(|given| given.as_admin);
    let subject = &submission.subject;
    let mut not: BTreeSet<PersonId> = subject.editors.iter().copied().collect();
    not.insert(subject.author);
    not.extend(given.iter().flat_map(|given| [given.by, given.of()]));
    not.remove(&PersonId(Actor::SYSTEM.id));
    let not: Vec<String> = not.into_iter().map(|person| names.of(person)).collect();
    let but = if not.is_empty() {
        String::new()
    } else {
        format!(" by somebody other than {}", list(&not, "and"))
    };
    let more = match (missing, admin) {
        (0 | 1, true) => format!("One more is needed, of an admin,{but}"),
        (0 | 1, false) => format!("One more is needed,{but}"),
        (more, true) => format!("{more} more are needed, one of them of an admin, each{but}"),
        (more, false) => format!("{more} more are needed, each{but}"),
    };
    Ok(Some(format!("{of} {}.", more.trim_end_matches(','))))
}

/// What is missing once the reader has approved.
async fn after(
    app: &App,
    caller: &Caller,
    state: &ChangeState,
    events: &[ChangeEvent],
    names: &Names,
) -> ApiResult<Option<String>> {
    let now = stream::now();
    let after = events.iter().fold(state.clone(), |state, event| {
        Change::evolve(state, event, caller.principal.actor, now)
    });
    Ok(match &after {
        ChangeState::Approved(_) => {
            Some("Yours is the last one that it needs: it can be executed after that.".to_owned())
        }
        ChangeState::Submitted(submission) => needed(app, submission, now, names)
            .await?
            .map(|needed| format!("After yours, {needed}")),
        ChangeState::Absent
        | ChangeState::Draft(_)
        | ChangeState::Executing(_)
        | ChangeState::Finished(_)
        | ChangeState::Closed(_) => None,
    })
}

fn four_eyes(subject: &Subject, names: &Names) -> String {
    let editors: Vec<String> = subject
        .editors
        .iter()
        .filter(|editor| **editor != subject.author)
        .map(|editor| format!("{} (editor)", names.of(*editor)))
        .collect();
    if subject.author == PersonId(Actor::SYSTEM.id) {
        return "Nobody wrote it: it was approved together with the change that it undoes."
            .to_owned();
    }
    let mut own = vec![format!("{} (author)", names.of(subject.author))];
    own.extend(editors);
    format!(
        "Nobody approves what they wrote or edited: not {}, and nobody for them. Everybody counts once.",
        list(&own, "nor")
    )
}

async fn undo(
    app: &App,
    state: &ChangeState,
    subject: &Subject,
    alike: &Alike<'_>,
) -> ApiResult<UndoOutlook> {
    let (possible, what) = undoing(state.plan(), subject);
    if subject.rollback_of.is_some() {
        return Ok(UndoOutlook { possible, what, proven: None, failed_since: 0 });
    }
    let (proof, failed_since) = changes::undo_proof(&app.pool, alike).await?;
    let proven = match proof {
        None => None,
        Some(proof) => {
            let id = proof.connection.0;
            let name = upkeep::names(&app.pool, &[id]).await?.remove(&id);
            let here = proof.connection == alike.connection;
            Some(UndoProof {
                rollback: proof.rollback,
                number: proof.number,
                title: proof.title,
                at: proof.at,
                here,
                connection_name: name.unwrap_or_else(|| id.to_string()),
            })
        }
    };
    Ok(UndoOutlook { possible, what, proven, failed_since })
}

/// Whether it can be undone, and what that does.
fn undoing(plan: Option<&Plan>, subject: &Subject) -> (bool, String) {
    if subject.rollback_of.is_some() {
        let what = "This is a rollback itself. To go forward again, make a new change.";
        return (false, what.to_owned());
    }
    let Some(plan) = plan else {
        return (false, "What undoing it does is known once it is planned.".to_owned());
    };
    match plan.worst_reversibility() {
        Some(Reversibility::OneWay { why }) => (false, format!("It cannot be undone: {why}")),
        Some(Reversibility::CompensateOnly { why }) => {
            (true, format!("It can only be compensated, not put back exactly: {why}"))
        }
        Some(Reversibility::Reversible) | None => {
            let example = plan.shown().flat_map(|step| &step.diff).find_map(back);
            let example = example.unwrap_or_default();
            let what =
                format!("A rollback puts back what is read right before each step{example}.");
            (true, what)
        }
    }
}

/// `: for example can_login of app_rw, back to true`; only what is short.
fn back(line: &DiffLine) -> Option<String> {
    let before = match &line.before {
        Value::String(text) if !text.is_empty() => format!("“{text}”"),
        Value::Bool(_) | Value::Number(_) => line.before.to_string(),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_short = before.chars().count() <= QUOTED && !before.contains('\n');
    is_short.then(|| format!(", for example {} of {}, back to {before}", line.field, line.target))
}

/// Names of people that were looked up.
struct Names(BTreeMap<Uuid, String>);

impl Names {
    fn of(&self, person: PersonId) -> String {
        self.0.get(&person.0).cloned().unwrap_or_else(|| person.to_string())
    }

    fn person(&self, id: PersonId) -> PersonName {
        PersonName { id, name: self.of(id) }
    }
}

/// `a, b and c`
fn list(names: &[String], and: &str) -> String {
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} {and} {last}", others.join(", ")),
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
