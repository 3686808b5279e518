//! Who agreed to which plan, and who is still missing.

use std::rc::Rc;

use nexplane_core::api::{ApprovalView, ChangeState, ChangeView, GlassView};
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use crate::component::change_table::name;
use crate::component::icon::{Glyph, Icon};
use crate::component::time::{Time, use_now};
use crate::format;

#[derive(Properties, PartialEq)]
pub struct ApprovalsProps {
    pub change: Rc<ChangeView>,
}

/// Whether an approval counts for the plan as it is now.
fn counts(change: &ChangeView, approval: &ApprovalView) -> bool {
    !approval.superseded && change.plan.as_ref().is_none_or(|plan| plan.digest == approval.digest)
}

#[component]
pub fn Approvals(props: &ApprovalsProps) -> Html {
    let change = &props.change;
    let now = use_now();
    let given = change.approvals.iter().filter(|approval| counts(change, approval)).count();
    let needed = usize::try_from(change.approvals_needed).unwrap_or(usize::MAX);
    let rows = change.approvals.iter().map(|approval| {
        let counts = counts(change, approval);
        html! {
            <li class={classes!("approval", (!counts).then_some("superseded"))} data-testid="approval"
                data-counts={counts.to_string()}>
                <Icon glyph={if counts { Glyph::Approvals } else { Glyph::Ring }} />
                <div>
                    <p><b>{ name(change, approval.by.0) }</b>
                        if let Some(delegator) = approval.delegator {
                            { " for " }<b>{ name(change, delegator.0) }</b>
                        }
                        { " " }<span class="faint small"><Time at={approval.at} /></span></p>
                    if let Some(comment) = approval.comment.as_ref().filter(|text| !text.is_empty()) {
                        <p class="comment">{ comment }</p>
                    }
                    <p class="faint small">
                        { if counts { "For plan " } else { "For an earlier plan " } }
                        <code>{ format::short_digest(&approval.digest) }</code>
                    </p>
                </div>
            </li>
        }
    });
    html! {
        <section class="panel order-4" aria-labelledby="approvals-title" data-testid="approvals">
            <div class="panel-head">
                <h2 id="approvals-title">{ "Approvals" }</h2>
                if needed > 0 {
                    <span class="quorum" data-testid="quorum" data-given={given.to_string()}
                        data-needed={needed.to_string()}>
                        { quorum(given, needed) }{ format!("{given} of {needed}") }
                    </span>
                }
            </div>
            <p class="faint small">{ rule(change, needed) }</p>
            if !change.glass.is_empty() {
                <ul class="approvals">{ for change.glass.iter().map(|broken| emergency(change, broken)) }</ul>
            }
            { for named(change) }
            if !change.approvals.is_empty() {
                <ul class="approvals">{ for rows }</ul>
            }
            if let Some(at) = change.not_before.filter(|at| *at > now && delayed(change, *at)) {
                <p class="faint small">{ "Not to be executed before " }<Time {at} />{ "." }</p>
            }
            if let Some(at) = change.review_due {
                <p class="emergency-word small" data-testid="review-due">{ "A review is due by " }<Time {at} />{ "." }</p>
            }
            if let Some(at) = change.approved_until.filter(|_| !change.state.is_settled()) {
                <p class="faint small">{ "The approval ends " }<Time {at} />{ "." }</p>
            }
        </section>
    }
}

/// No approval: somebody stood for all of them.
fn emergency(change: &ChangeView, broken: &GlassView) -> Html {
    let stands = !broken.superseded;
    html! {
        <li class={classes!("approval", "emergency", (!stands).then_some("superseded"))} data-testid="glass"
            data-counts={stands.to_string()}>
            <Icon glyph={Glyph::Warning} />
            <div>
                <p><span class="emergency-word">{ "Emergency" }</span>{ " " }<b>{ name(change, broken.by.0) }</b>
                    { " broke glass, instead of approvals " }
                    <span class="faint small"><Time at={broken.at} /></span></p>
                <p class="comment">{ &broken.justification }</p>
                <p class="faint small">
                    { if stands { "For plan " } else { "For an earlier plan " } }
                    <code>{ format::short_digest(&broken.digest) }</code>
                </p>
            </div>
        </li>
    }
}

/// Without a delay, the moment is that of the last approval, and says nothing.
fn delayed(change: &ChangeView, not_before: Timestamp) -> bool {
    change.approvals.iter().all(|approval| approval.at < not_before)
}

fn rule(change: &ChangeView, needed: usize) -> &'static str {
    match (needed, change.state) {
        (0, ChangeState::Draft) => "How many are needed is known once it is submitted.",
        (0, _) => "The policy asks for no approval.",
        _ if change.admin_needed => "One of them has to be an administrator.",
        _ => "Nobody who wrote or edited the change can approve it.",
    }
}

/// Whose approvals have to be among them.
fn named(change: &ChangeView) -> impl Iterator<Item = Html> + '_ {
    change.seats.iter().map(|seat| {
        let people: Vec<_> = seat.people.iter().map(|person| name(change, person.0)).collect();
        let people = people.join(" or ");
        let text = match seat.owner_of {
            Some(asset) => format!("For the owner of {}: {people}.", name(change, asset.0)),
            None if seat.approvals == 1 => format!("One of {people}."),
            None => format!("{} of {people}.", seat.approvals),
        };
        html! { <p class="faint small" data-testid="seat">{ text }</p> }
    })
}

/// One mark per approval that is needed.
fn quorum(given: usize, needed: usize) -> Html {
    let shown = needed.min(6);
    let marks = (0..shown).map(|index| {
        let class = if index < given { "quorum-given" } else { "quorum-missing" };
        html! { <circle cx={(index * 14 + 7).to_string()} cy="7" r="5" {class} /> }
    });
    html! {
        <svg class="quorum-marks" viewBox={format!("0 0 {} 14", shown * 14)} width={(shown * 14).to_string()}
            height="14" aria-hidden="true">{ for marks }</svg>
    }
}
