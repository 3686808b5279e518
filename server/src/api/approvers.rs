//! Whose approvals a change in review still needs, by name: added when somebody reads it.

use std::collections::BTreeSet;

use nexplane_core::aggregate::Reject as _;
use nexplane_core::api::{Allowed, ChangeView};
use nexplane_core::change::{ChangeRejection, ChangeState, Submission};
use nexplane_core::policy::Seat;
use nexplane_core::time::Timestamp;
use nexplane_projections::upkeep;
use uuid::Uuid;

use crate::app::App;
use crate::problem::ApiResult;
use crate::stream;

/// The code of a refusal that names explain.
const NOT_NAMED: &str = "change.not_named";

/// Says who is needed: `1 approval by the owner of app_rw: Anna`. Nothing when anybody may approve.
pub async fn wait(
    app: &App,
    state: &ChangeState,
    view: &mut ChangeView,
) -> ApiResult<Option<String>> {
    let ChangeState::Submitted(submission) = state else { return Ok(None) };
    let at = stream::now();
    let Some(who) = named(app, submission, at).await? else { return Ok(None) };
    let given = submission.standing(at).count();
    let needed = submission.quorum.approvals;
    view.waiting_for = Some(format!("{given} of {needed} approvals are given. Waits for {who}."));
    Ok(Some(who))
}

/// The seats that nobody has taken, with how many approvals each lacks.
pub fn open_seats(submission: &Submission, at: Timestamp) -> Vec<(&Seat, u32)> {
    let given: Vec<_> = submission.standing(at).collect();
    let seats = submission.quorum.seats.iter();
    seats
        .filter_map(|seat| {
            let taken = given.iter().filter(|given| seat.people.contains(&given.of())).count();
            let lacks = seat.approvals.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
            (lacks > 0).then_some((seat, lacks))
        })
        .collect()
}

/// Whose approvals are missing, by name; nothing when those of nobody in particular are.
pub async fn named(app: &App, submission: &Submission, at: Timestamp) -> ApiResult<Option<String>> {
    let open = open_seats(submission, at);
    if open.is_empty() {
        return Ok(None);
    }
    let people: BTreeSet<Uuid> =
        open.iter().flat_map(|(seat, _)| &seat.people).map(|person| person.0).collect();
    let people: Vec<Uuid> = people.into_iter().collect();
    let targets: Vec<Uuid> =
        open.iter().filter_map(|(seat, _)| seat.owner_of).map(|asset| asset.0).collect();
    let mut names = app.directory.names(&people).await?;
    names.extend(upkeep::names(&app.pool, &targets).await?);
    let name = |id: Uuid| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
    let seats: Vec<String> = open
        .iter()
        .map(|(seat, lacks)| {
            let people: Vec<_> = seat.people.iter().map(|person| name(person.0)).collect();
            let people = people.join(" or ");
            let count =
                if *lacks == 1 { "1 approval".to_owned() } else { format!("{lacks} approvals") };
            match seat.owner_of {
                Some(target) => format!("{count} for the owner of {}: {people}", name(target.0)),
                None => format!("{count} by {people}"),
            }
        })
        .collect();
    Ok(Some(seats.join("; ")))
}

/// Adds who is needed to why the reader may not approve.
pub fn explain(who: Option<&str>, allowed: &mut [Allowed]) {
    let Some(who) = who else { return };
    for answer in allowed {
        if let (Some(NOT_NAMED), Some(why_not)) = (answer.code.as_deref(), &mut answer.why_not) {
            *why_not = with(why_not, who);
        }
    }
}

/// Why not, with who is needed when that is why.
pub fn explained(no: &ChangeRejection, who: Option<&str>) -> String {
    match who {
        Some(who) if no.code() == NOT_NAMED => with(&no.to_string(), who),
        Some(_) | None => no.to_string(),
    }
}

fn with(why_not: &str, who: &str) -> String {
    format!("{why_not} Still needed: {who}.")
}
