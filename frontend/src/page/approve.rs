//! What an approver has to know, on one page: what, where, the diff, why they, who else, what undoing it does
//! and whether that ever worked, how such changes ended before; and the decision.

mod decision;
mod past;
mod place;
mod plan_moved;
mod queue;
mod why;

use std::rc::Rc;

use nexplane_core::api::{ChangeContext, ChangeView};
use nexplane_core::id::ChangeId;
use yew::prelude::*;

use crate::component::badge::{Badge, Callout, RiskBadge, StateBadge};
use crate::component::change_table::{name, waits};
use crate::component::icon::{Glyph, Icon};
use crate::component::inbox::use_inbox;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::risk::RiskPanel;
use crate::component::shell::set_title;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::live::use_live;
use crate::page::change::{Approvals, Plan};
use crate::resource::use_resource;
use crate::route::Route;
use crate::words::{self, Tone};

#[derive(Properties, PartialEq)]
pub struct ApproveProps {
    pub id: ChangeId,
}

#[component]
pub fn Approve(props: &ApproveProps) -> Html {
    let id = props.id;
    let change = use_resource::<ChangeView>(Some(format!("/change-requests/{id}")));
    let context = use_resource::<ChangeContext>(Some(format!("/change-requests/{id}/context")));
    // What is decided on: the plan that was on the screen first, until the reader has looked at another one.
    let looked = use_state(|| None::<Rc<ChangeView>>);
    let inbox = use_inbox();
    {
        let (change, context) = (change.clone(), context.clone());
        use_live(
            vec![format!("change:{id}")],
            Callback::from(move |event: crate::live::Event| {
                change.reload_at(event.position());
                context.reload_at(event.position());
            }),
        );
    }
    {
        let (looked, now) = (looked.clone(), change.value.clone());
        use_effect_with(change.value.clone(), move |_| {
            if looked.is_none() && now.as_ref().is_some_and(|now| now.plan.is_some()) {
                looked.set(now);
            }
        });
    }
    let title = change.value.as_ref().map(|view| format!("Approve #{}", view.number));
    use_effect_with(title, |title| {
        if let Some(title) = title {
            set_title(title);
        }
    });
    let on_changed = {
        let (change, context) = (change.clone(), context.clone());
        Callback::from(move |answer: ChangeView| {
            context.reload_at(Some(answer.position));
            change.set(answer);
        })
    };
    let on_stale = {
        let (change, context) = (change.clone(), context.clone());
        Callback::from(move |()| {
            change.reload();
            context.reload();
        })
    };
    let problem = change.error.clone().or_else(|| context.error.clone()).map(|error| {
        let on_stale = on_stale.clone();
        html! { <ProblemNote {error} retry={on_stale} /> }
    });
    let Some(now) = change.value.clone() else {
        return problem.unwrap_or_else(|| html! { <Skeleton lines={14} /> });
    };
    let seen = (*looked).clone().unwrap_or_else(|| now.clone());
    let has_moved = digest(&seen) != digest(&now);
    let on_seen = {
        let (looked, now) = (looked.setter(), now.clone());
        Callback::from(move |()| looked.set(Some(now.clone())))
    };
    let mine = queue::mine(inbox.items.as_deref());
    let about = context.value.as_deref();
    html! {
        <article class="approve" data-testid="approve" data-id={id.to_string()}
            data-state={now.state.as_str()} data-digest={digest(&seen).to_owned()}
            data-moved={has_moved.to_string()}>
            { head(&now, about, queue::place(&mine, id)) }
            { for problem }
            if has_moved {
                <plan_moved::PlanMoved old={seen.clone()} new={now.clone()} {on_seen} />
            }
            { body(&now, about) }
            <decision::Decision change={now.clone()} digest={digest(&seen).to_owned()} moved={has_moved}
                context={context.value.clone()} next={queue::next(&mine, now.number, id)}
                {on_changed} {on_stale} />
        </article>
    }
}

/// Of the plan; empty when there is none.
fn digest(change: &ChangeView) -> &str {
    change.plan.as_ref().map(|plan| plan.digest.as_str()).unwrap_or_default()
}

fn head(change: &ChangeView, context: Option<&ChangeContext>, place: Option<String>) -> Html {
    let headline = context.map_or(change.title.as_str(), |context| context.headline.as_str());
    html! {
        <header class="head approve-head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Approvals}>{ "Approvals" }</Link>
                    <Icon glyph={Glyph::Chevron} />
                    <Link to={Route::Change { id: change.id }} testid="approve-change">
                        { format!("#{}", change.number) }
                    </Link>
                    if let Some(place) = place {
                        <span class="faint">{ place }</span>
                    }
                </p>
                <h1 data-testid="approve-headline">{ headline }</h1>
                <p class="badges">
                    <StateBadge state={change.state} settled={change.settled.is_some()} testid="change-state" />
                    <RiskBadge risk={change.risk.clone()} />
                    if let Some(plan) = change.plan.as_ref().filter(|plan| !plan.reversible) {
                        <Badge label={words::reversibility(&plan.reversibility).0} testid="one-way" />
                    }
                </p>
                <p class="approve-asked">
                    <b>{ &change.title }</b>{ ": " }
                    <span data-testid="change-reason">{ &change.reason }</span>
                    <span class="faint">
                        { " · asked for by " }{ name(change, change.requester.0) }{ ", " }
                        <Time at={change.created_at} relative=true />
                        if let Some(ticket) = &change.ticket {
                            { " · " }{ ticket }
                        }
                    </span>
                </p>
                <p class="visually-hidden" aria-live="polite">{ waits(change) }</p>
            </div>
        </header>
    }
}

fn body(change: &Rc<ChangeView>, context: Option<&ChangeContext>) -> Html {
    html! {
        <>
            { context.map_or_else(|| html! { <Skeleton lines={2} /> }, |context| place::place(&context.place)) }
            <div class="split">
                <div class="stack">
                    if !change.conflicts.is_empty() {
                        <Callout tone={Tone::Waiting} glyph={Glyph::Clock} testid="conflicts">
                            <p>{ "Other changes under way meet this one: what they do can make its plan outdated." }</p>
                            <ul>{ for change.conflicts.iter().map(|conflict| html! {
                                <li>
                                    <Link to={Route::Change { id: conflict.id }} testid="conflict">
                                        { format!("#{} {}", conflict.number, conflict.title) }
                                    </Link>
                                    { " " }<span class="small">{ &conflict.how }</span>
                                </li>
                            }) }</ul>
                        </Callout>
                    }
                    <Plan change={Rc::clone(change)} busy=false />
                    { for context.map(|context| past::undo(change, &context.undo)) }
                    { for context.map(|context| past::similar(&context.similar, change)) }
                </div>
                <div class="stack side">
                    if let Some(risk) = change.risk.clone() {
                        <section class="panel order-3" aria-labelledby="risk-title">
                            <h2 id="risk-title">{ "Risk" }</h2>
                            <RiskPanel {risk} />
                            { for context.map(|context| place::around(&context.place)) }
                        </section>
                    }
                    { for context.map(|context| place::when(change, &context.timing)) }
                    { for context.map(|context| why::why(&context.approving)) }
                    <Approvals change={Rc::clone(change)} />
                </div>
            </div>
        </>
    }
}
