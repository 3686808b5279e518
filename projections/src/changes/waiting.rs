//! What a change waits for, until when, and who can move it: one honest sentence. Pure.

use jiff::tz::TimeZone;
use nexplane_core::api::{ChangeState, ChangeView, RunView, StepState};
use nexplane_core::policy::Seat;
use nexplane_core::time::Timestamp;

use super::fold::Folded;

/// The sentence, or `None` when the change waits for nothing.
pub fn waiting_for(folded: &Folded) -> Option<String> {
    let view = &folded.view;
    match view.state {
        ChangeState::Draft => Some(draft(view)),
        ChangeState::Submitted => Some(submitted(folded)),
        ChangeState::Approved => Some(approved(folded)),
        ChangeState::Scheduled => Some(scheduled(folded)),
        ChangeState::Executing => Some(executing(view.run.as_ref())),
        ChangeState::RollingBack => Some("Waits for its rollback to finish.".to_owned()),
        ChangeState::OutcomeUnknown => Some(outcome_unknown(view)),
        // A rollback that got stuck is pursued on the change that it undoes.
        ChangeState::RollbackPartial | ChangeState::RollbackBlocked
            if view.rollback_of.is_some() =>
        {
            review(view)
        }
        ChangeState::RollbackPartial => Some(
            "Waits for an operator: part of it is undone and part is not; roll it back again, or \
             settle the rest with a new change."
                .to_owned(),
        ),
        ChangeState::RollbackBlocked => Some(
            "Waits for an operator: the rollback was stopped before anything was undone; settle what \
             stopped it, then roll it back again."
                .to_owned(),
        ),
        ChangeState::Complete
        | ChangeState::Failed
        | ChangeState::RolledBack
        | ChangeState::Rejected
        | ChangeState::Cancelled
        | ChangeState::Expired => review(view),
    }
}

/// What has ended waits for nothing but that.
fn review(view: &ChangeView) -> Option<String> {
    let due = view.review_due?;
    let what = match (view.glass.is_empty(), view.overrides.is_empty()) {
        (true, _) => "what was overridden for it",
        (false, true) => "that glass was broken for it",
        (false, false) => "that glass was broken, and what was overridden, for it",
    };
    Some(format!(
        "Waits for an approver or admin who had no part in it to review {what}, due by {}.",
        down(due)
    ))
}

fn draft(view: &ChangeView) -> String {
    let Some(plan) = &view.plan else { return "Waits for its author to plan it.".to_owned() };
    let failed = plan.checks.iter().filter(|check| !check.ok).count();
    if failed > 0 {
        return format!(
            "Waits for its author to plan it again: {failed} of {} did not pass.",
            count(plan.checks.len(), "check")
        );
    }
    if view.approvals.is_empty() {
        "Waits for its author to submit it.".to_owned()
    } else {
        "Waits for its author to submit it again; earlier approvals no longer count.".to_owned()
    }
}

fn submitted(folded: &Folded) -> String {
    let view = &folded.view;
    let given = view.approvals.iter().filter(|approval| !approval.superseded).count();
    let given = u32::try_from(given).unwrap_or(u32::MAX);
    let missing = view.approvals_needed.saturating_sub(given);
    let admin = view.admin_needed && !folded.hidden.admin_given;
    let others = own(view);
    let reserved = seats_lack(view);
    if reserved > 0 {
        return format!(
            "Waits for {} of {}, {reserved} of them by whom the policy names, and someone other than \
             {others}.",
            count(usize::try_from(missing.max(reserved)).unwrap_or(usize::MAX), "more approval"),
            view.approvals_needed,
        );
    }
    match (missing, admin) {
        (0, true) => format!("Waits for an approval by an admin other than {others}."),
        (0, false) => "Waits for Nexplane to record that it is approved.".to_owned(),
        (1, true) => format!(
            "Waits for 1 more approval of {}, by an admin other than {others}.",
            view.approvals_needed
        ),
        (_, _) => format!(
            "Waits for {missing} more approval{} of {} by someone other than {others}{}.",
            if missing == 1 { "" } else { "s" },
            view.approvals_needed,
            if admin { ", one of them an admin" } else { "" }
        ),
    }
}

fn approved(folded: &Folded) -> String {
    let (view, hidden) = (&folded.view, &folded.hidden);
    if let Some(reason) = &hidden.unscheduled {
        return format!("Was not started when its window opened: {reason} Waits for an operator.");
    }
    let window = hidden.window;
    let from = [view.not_before, window.map(|w| w.start)].into_iter().flatten().max();
    let until = [view.approved_until, window.map(|w| w.end)].into_iter().flatten().min();
    // At the moment of approval it was already possible: nothing to wait for but the operator.
    let from = from.filter(|from| hidden.approved_at.is_none_or(|approved| *from > approved));
    match (from, until) {
        (Some(from), Some(until)) if from >= until => format!(
            "Cannot start any more: the time left ends at {} and it may not begin before {}; its \
             author can withdraw it.",
            down(until),
            up(from)
        ),
        (Some(from), Some(until)) => {
            format!("Waits for an operator to execute it, from {} until {}.", up(from), down(until))
        }
        (None, Some(until)) => {
            format!("Waits for an operator to execute it, until {}.", down(until))
        }
        (Some(from), None) => format!("Waits for an operator to execute it, from {}.", up(from)),
        (None, None) => "Waits for an operator to execute it.".to_owned(),
    }
}

fn scheduled(folded: &Folded) -> String {
    match folded.view.scheduled {
        Some(asked) => format!(
            "Waits for its window and starts by itself at {}; its author can withdraw it.",
            up(asked.opens)
        ),
        None => approved(folded),
    }
}

fn executing(run: Option<&RunView>) -> String {
    let Some(run) = run.filter(|run| run.epoch > 0) else {
        return "Waits for Nexplane to begin its run.".to_owned();
    };
    let current = run.steps.iter().find(|step| step.state != StepState::Verified);
    let Some(step) = current.filter(|_| run.finished_at.is_none()) else {
        return "Waits for Nexplane to record how its run ended.".to_owned();
    };
    let no = step.no.saturating_add(1);
    let what = format!("step {no} of {}, {} on {}", run.steps.len(), step.action, step.target);
    match step.state {
        StepState::Planned => format!("Waits for Nexplane to begin {what}."),
        StepState::Intended => format!("Waits for the answer to {what}."),
        StepState::Succeeded => format!("Waits for Nexplane to verify {what}."),
        StepState::Unknown => {
            format!("Waits for Nexplane to find out by reading the target what became of {what}.")
        }
        StepState::Reconciled => {
            format!("Waits for Nexplane to go on after reading what became of {what}.")
        }
        StepState::Verified | StepState::Failed | StepState::Blocked => {
            "Waits for Nexplane to record how its run ended.".to_owned()
        }
    }
}

/// How many approvals are missing that have to be of somebody in particular.
fn seats_lack(view: &ChangeView) -> u32 {
    let lacks = |seat: &Seat| {
        let given = view.approvals.iter().filter(|given| !given.superseded);
        let of = given.map(|given| given.delegator.unwrap_or(given.by));
        let taken = of.filter(|person| seat.people.contains(person)).count();
        seat.approvals.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    };
    view.seats.iter().map(lacks).fold(0, u32::saturating_add)
}

/// Who neither approves it nor settles it.
fn own(view: &ChangeView) -> &'static str {
    if view.editors.iter().any(|editor| *editor != view.requester) {
        "its author and editors"
    } else {
        "its author"
    }
}

fn outcome_unknown(view: &ChangeView) -> String {
    let step = view.run.as_ref().and_then(|run| {
        let stuck = run.steps.iter().find(|step| {
            matches!(step.state, StepState::Unknown | StepState::Reconciled | StepState::Intended)
        })?;
        let no = stuck.no.saturating_add(1);
        Some(format!("step {no} of {}, {} on {}", run.steps.len(), stuck.action, stuck.target))
    });
    format!(
        "Waits for an operator or admin other than {} to look at the target and settle it as applied \
         or not applied: what became of {} is unknown, and nothing may be undone until then.",
        own(view),
        step.unwrap_or_else(|| "its execution".to_owned())
    )
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// To the minute, never later than it is.
fn down(at: Timestamp) -> String {
    minute(at.as_micros().div_euclid(MINUTE))
}

/// To the minute, never earlier than it is.
pub fn up(at: Timestamp) -> String {
    minute(-(-at.as_micros()).div_euclid(MINUTE))
}

const MINUTE: i64 = 60_000_000;

fn minute(minutes: i64) -> String {
    let at = Timestamp::from_micros(minutes.saturating_mul(MINUTE)).as_jiff();
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string()
}
