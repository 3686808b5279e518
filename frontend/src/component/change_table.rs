//! Changes as rows; each says in one line what it waits for.

use nexplane_core::api::{ChangeState, ChangeView};
use uuid::Uuid;
use yew::prelude::*;

use super::badge::{RiskBadge, StateBadge};
use super::link::Link;
use super::time::Time;
use crate::route::Route;
use crate::{format, words};

#[derive(Properties, PartialEq)]
pub struct ChangeTableProps {
    pub changes: Vec<ChangeView>,
}

#[component]
pub fn ChangeTable(props: &ChangeTableProps) -> Html {
    html! {
        <table class="table changes" data-testid="change-list">
            <caption class="visually-hidden">{ "Changes, newest first" }</caption>
            <thead>
                <tr>
                    <th scope="col" class="col-number">{ "No." }</th>
                    <th scope="col">{ "Change" }</th>
                    <th scope="col" class="col-state">{ "State" }</th>
                    <th scope="col" class="col-risk">{ "Risk" }</th>
                    <th scope="col" class="col-target">{ "Target" }</th>
                    <th scope="col" class="col-who">{ "Requested by" }</th>
                    <th scope="col" class="col-time">{ "Updated" }</th>
                </tr>
            </thead>
            <tbody>{ for props.changes.iter().map(row) }</tbody>
        </table>
    }
}

fn row(change: &ChangeView) -> Html {
    html! {
        <tr key={change.id.to_string()} data-testid="change-row" data-state={change.state.as_str()}
            data-id={change.id.to_string()}>
            <td class="col-number">{ format!("#{}", change.number) }</td>
            <td class="col-main">
                <Link to={Route::Change { id: change.id }} row=true class="row-link"
                    testid="change-link">{ &change.title }</Link>
                <p class="row-waits" data-testid="change-waits">{ waits(change) }</p>
            </td>
            <td class="col-state"><StateBadge state={change.state} settled={change.settled.is_some()} /></td>
            <td class="col-risk"><RiskBadge risk={change.risk.clone()} /></td>
            <td class="col-target">
                <span>{ targets(change) }</span>
                <span class="faint small">{ words::change_type(&change.change_type) }</span>
            </td>
            <td class="col-who">{ name(change, change.requester.0) }</td>
            <td class="col-time"><Time at={change.updated_at} relative=true /></td>
        </tr>
    }
}

/// The name of a person, asset or connection that a change mentions.
pub fn name(change: &ChangeView, id: Uuid) -> String {
    change.names.get(&id.to_string()).cloned().unwrap_or_else(|| format::short_id(id))
}

/// How many there are; of a rollout the change shows only the first ones.
pub fn target_count(change: &ChangeView) -> usize {
    let rollout = change.rollout.as_ref().and_then(|rollout| usize::try_from(rollout.targets).ok());
    rollout.unwrap_or(change.targets.len())
}

/// `app_reader`, or `app_reader and 2 more`.
pub fn targets(change: &ChangeView) -> String {
    match change.targets.as_slice() {
        [] => "No target".to_owned(),
        [one] => name(change, one.0),
        [first, ..] => format!("{} and {} more", name(change, first.0), target_count(change) - 1),
    }
}

/// One line: what it waits for, or how it ended; both while that is to be reviewed.
pub fn waits(change: &ChangeView) -> String {
    match (&change.waiting_for, change.review_due) {
        (Some(review), Some(_)) if change.state.is_settled() => {
            format!("{} {review}", ended(change))
        }
        (Some(sentence), _) => sentence.clone(),
        (None, _) => ended(change),
    }
}

/// How it ended.
fn ended(change: &ChangeView) -> String {
    if let Some(reason) = &change.closing_reason {
        return words::sentence(reason);
    }
    match change.state {
        ChangeState::Complete => {
            let targets = u64::try_from(target_count(change)).unwrap_or(u64::MAX);
            format!("Verified on {}.", format::count(targets, "target", "targets"))
        }
        ChangeState::RolledBack => "Undone: the state before is back.".to_owned(),
        ChangeState::OutcomeUnknown => {
            "Nobody knows yet whether it happened. A person has to look.".to_owned()
        }
        ChangeState::RollbackPartial => "Some steps are undone, some are not.".to_owned(),
        ChangeState::RollbackBlocked => "Somebody moved the target in between.".to_owned(),
        ChangeState::Rejected => "Rejected.".to_owned(),
        ChangeState::Cancelled => "Cancelled.".to_owned(),
        ChangeState::Expired => "Its approvals ran out.".to_owned(),
        ChangeState::Failed => "It failed.".to_owned(),
        ChangeState::Draft
        | ChangeState::Submitted
        | ChangeState::Approved
        | ChangeState::Scheduled
        | ChangeState::Executing
        | ChangeState::RollingBack => format!("{}.", words::change_state(change.state).text),
    }
}
