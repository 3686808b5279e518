//! What waits for my approval, and what I may not approve and why.

use nexplane_core::api::InboxItem;
use yew::prelude::*;

use crate::component::badge::{Badge, RiskBadge};
use crate::component::change_table::{name, targets};
use crate::component::diff::Diff;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::inbox::use_inbox;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::route::Route;
use crate::{format, words};

/// More lines of a diff are for the change's own page.
const DIFF_FIELDS: usize = 4;
const DIFF_LINES: usize = 6;

#[component]
pub fn Approvals() -> Html {
    let inbox = use_inbox();
    let body = match &inbox.items {
        None if inbox.error.is_none() => html! { <Skeleton lines={8} /> },
        None => html! {},
        Some(page) => {
            let (mine, others): (Vec<&InboxItem>, Vec<&InboxItem>) =
                page.items.iter().partition(|item| item.may_approve || item.may_review);
            html! {
                <>
                    <section aria-labelledby="mine-title" data-testid="inbox-mine">
                        <h2 id="mine-title" class="list-title">
                            { "For you" }<span class="count quiet">{ mine.len() }</span>
                        </h2>
                        if mine.is_empty() {
                            <Empty glyph={Glyph::Approvals} title="Nothing waits for you" testid="inbox-empty">
                                <p>{ "When somebody submits a change that you may approve, it appears \
                                      here by itself." }</p>
                                <Link to={Route::Changes} class="button">{ "All changes" }</Link>
                            </Empty>
                        } else {
                            <ul class="cards">{ for mine.into_iter().map(card) }</ul>
                        }
                    </section>
                    if !others.is_empty() {
                        <section aria-labelledby="others-title" data-testid="inbox-others">
                            <h2 id="others-title" class="list-title">
                                { "Waiting for others" }<span class="count quiet">{ others.len() }</span>
                            </h2>
                            <ul class="cards">{ for others.into_iter().map(card) }</ul>
                        </section>
                    }
                </>
            }
        }
    };
    html! {
        <>
            <Head title="Approvals" lead="Open one to read what it does, then approve, reject or review it." />
            if let Some(error) = inbox.error.clone() {
                <ProblemNote {error} retry={inbox.reload.clone()} />
            }
            { body }
        </>
    }
}

fn card(item: &InboxItem) -> Html {
    let change = &item.change;
    let given = change.approvals.iter().filter(|approval| !approval.superseded).count();
    let diff = change.plan.as_ref().map(|plan| plan.diff.as_slice()).unwrap_or_default();
    let hidden = u64::try_from(diff.len().saturating_sub(DIFF_FIELDS)).unwrap_or(u64::MAX);
    let id = change.id;
    let to = if item.may_review { Route::Change { id } } else { Route::Approve { id } };
    html! {
        <li key={change.id.to_string()} class="card" data-testid="inbox-item" data-id={change.id.to_string()}
            data-may-approve={item.may_approve.to_string()} data-may-review={item.may_review.to_string()}>
            <div class="card-head">
                <h3>
                    <span class="faint">{ format!("#{} ", change.number) }</span>
                    <Link {to} row=true class="row-link" testid="inbox-link">
                        { &change.title }
                    </Link>
                </h3>
                <RiskBadge risk={change.risk.clone()} />
            </div>
            <p class="card-facts faint small">
                { name(change, change.requester.0) }{ " · " }{ targets(change) }{ " · " }
                { words::change_type(&change.change_type) }{ " · " }<Time at={change.updated_at} relative=true />
                { format!(" · {given} of {} approvals", change.approvals_needed) }
            </p>
            if let Some(at) = change.review_due {
                <p class="emergency-word" data-testid="inbox-review">
                    { if change.glass.is_empty() { "Overridden" } else { "Emergency: glass was broken" } }
                    { ". To be reviewed by " }<Time {at} />{ "." }
                </p>
            }
            <p class="reason">{ &change.reason }</p>
            if !diff.is_empty() {
                <Diff diff={diff.iter().take(DIFF_FIELDS).cloned().collect::<Vec<_>>()} limit={DIFF_LINES} />
            }
            if hidden > 0 {
                <p class="faint small">{ format!("and {} more", format::count(hidden, "field", "fields")) }</p>
            }
            if let Some(plan) = change.plan.as_ref().filter(|plan| !plan.reversible) {
                <p><Badge label={words::reversibility(&plan.reversibility).0} /></p>
            }
            if let Some(why_not) = &item.why_not {
                <p class="card-why-not" data-testid="inbox-why-not">
                    <Icon glyph={Glyph::Blocked} />{ words::sentence(why_not) }
                </p>
            }
        </li>
    }
}
