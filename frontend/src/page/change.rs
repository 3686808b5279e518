//! One change: who is next, what exactly happens, who agreed, how it went.

mod action;
mod approval;
mod fact;
mod moment;
mod plan;
mod preview;
mod radius;
mod rollout;
mod secret;
mod station;
mod step;
mod undo;

pub use action::{Actions, moved, word_to_type};
pub use approval::Approvals;
pub use moment::{AtQuery, use_at};
pub use plan::{Plan, check_line};
pub use rollout::{plan_of, reason as rollout_reason, use_rollout};
pub use step::list as step_list;

use std::rc::Rc;

use nexplane_core::api::{ChangeState, ChangeView, ConflictView, EventView};
use nexplane_core::id::ChangeId;
use yew::prelude::*;
use yew_router::prelude::*;

use crate::api;
use crate::component::badge::{Callout, RiskBadge, StateBadge};
use crate::component::change_table::waits;
use crate::component::event_list::EventList;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::risk::RiskPanel;
use crate::component::shell::set_title;
use crate::component::skeleton::Skeleton;
use crate::live::use_live;
use crate::query;
use crate::resource::{Mutation, use_list, use_mutation, use_resource};
use crate::route::Route;
use crate::words::{self, Tone};

/// Left in the browser's history by the form: the draft is new, plan it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlanNow;

#[derive(Properties, PartialEq)]
pub struct ChangeProps {
    pub id: ChangeId,
}

#[component]
pub fn Change(props: &ChangeProps) -> Html {
    let id = props.id;
    let change = use_resource::<ChangeView>(Some(format!("/change-requests/{id}")));
    let events = use_list::<EventView>(Some(format!("/change-requests/{id}/events?limit=200")));
    {
        // Every event is a stop of the slider; a change that has more than a page of them is rare.
        let events = events.clone();
        use_effect_with((events.more, events.loading), move |(more, loading)| {
            if *more && !*loading {
                events.load_more();
            }
        });
    }
    let at = moment::use_at();
    let past = use_resource::<ChangeView>(
        at.as_ref().map(|at| query::with(&format!("/change-requests/{id}"), &[("at", at)])),
    );
    {
        let (change, events) = (change.clone(), events.clone());
        use_live(
            vec![format!("change:{id}")],
            Callback::from(move |event: crate::live::Event| {
                change.reload_at(event.position());
                events.reload_at(event.position());
            }),
        );
    }
    // What the server answered to an action is newer than what was read.
    let on_changed = {
        let (change, events) = (change.clone(), events.clone());
        Callback::from(move |answer: ChangeView| {
            events.reload_at(Some(answer.position));
            change.set(answer);
        })
    };
    let title = change.value.as_ref().map(|view| format!("#{} {}", view.number, view.title));
    use_effect_with(title, |title| {
        if let Some(title) = title {
            set_title(title);
        }
    });
    let planning = use_mutation();
    // How often somebody has asked for the rollback further down on the page.
    let undo = use_state_eq(|| 0_u32);
    let on_undo = {
        let undo = undo.clone();
        Callback::from(move |()| undo.set(*undo + 1))
    };
    use_plan_now(id, &planning, &on_changed);

    let events = events.items.clone();
    let happened = at
        .as_ref()
        .map(|at| moment::happened(events.as_deref().map_or(&[][..], Vec::as_slice), at));
    let moments = html! {
        <moment::Moments {id} events={events.clone()} at={at.clone().map(AttrValue::from)} />
    };
    // What is shown is now, or as it once was; now is kept current behind it. What was shown stays
    // until the other is there.
    let asked = if at.is_some() { &past } else { &change };
    let problem = asked.error.clone().map(|error| {
        let asked = asked.clone();
        html! { <ProblemNote {error} retry={move |()| asked.reload()} /> }
    });
    let view = match (&at, asked.value.clone().or_else(|| change.value.clone())) {
        // It is not shown as what it was not.
        (Some(_), Some(_)) if problem.is_some() => None,
        (Some(_), Some(view)) => Some(without_acts(view)),
        (None, view) => view,
        (Some(_), None) => None,
    };
    let Some(view) = view else {
        return html! {
            <>
                if at.is_some() { { moments } }
                if let Some(problem) = problem { { problem } } else { <Skeleton lines={14} /> }
            </>
        };
    };
    html! {
        <article class="change" data-testid="change" data-id={id.to_string()}
            data-state={view.state.as_str()} data-version={view.version.to_string()}
            data-past={at.is_some().to_string()}
            aria-busy={(at.is_some() && past.loading).to_string()}>
            { head(&view) }
            { moments }
            <action::Actions change={view.clone()} planning={planning.clone()} on_changed={on_changed.clone()}
                undo={*undo} />
            { for problem }
            <station::Stations change={view.clone()} events={until(events.as_ref(), happened)} />
            { body(&view, &planning, &on_changed, &on_undo, events, happened) }
        </article>
    }
}

/// Nothing can be done to the past.
fn without_acts(view: Rc<ChangeView>) -> Rc<ChangeView> {
    if view.allowed.is_empty() {
        return view;
    }
    Rc::new(ChangeView { allowed: Vec::new(), ..(*view).clone() })
}

/// The events that had happened; all of them now.
fn until(events: Option<&Rc<Vec<EventView>>>, happened: Option<usize>) -> Vec<EventView> {
    let events = events.map_or(&[][..], |events| events.as_slice());
    events.iter().take(happened.unwrap_or(usize::MAX)).cloned().collect()
}

/// Plans a draft that was just made, once.
#[hook]
fn use_plan_now(id: ChangeId, planning: &Mutation, on_changed: &Callback<ChangeView>) {
    let navigator = use_navigator().expect("every page is inside the router");
    let wanted = use_location().is_some_and(|location| location.state::<PlanNow>().is_some());
    let (planning, on_changed) = (planning.clone(), on_changed.clone());
    use_effect_with(wanted, move |wanted| {
        if *wanted {
            // Going back to this page later must not plan again.
            navigator.replace(&Route::Change { id });
            planning.start(
                async move { api::act::<ChangeView>(&format!("/change-requests/{id}/plan")).await },
                move |change| on_changed.emit(change),
            );
        }
    });
}

fn head(change: &ChangeView) -> Html {
    html! {
        <header class="head change-head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Changes}>{ "Changes" }</Link>
                    <Icon glyph={Glyph::Chevron} />
                    <span>{ format!("#{}", change.number) }</span>
                </p>
                <h1 data-testid="change-title">{ &change.title }</h1>
                <p class="badges">
                    <StateBadge state={change.state} settled={change.settled.is_some()} testid="change-state" />
                    if change.risk.is_some() {
                        <RiskBadge risk={change.risk.clone()} />
                    }
                    if let Some(plan) = &change.plan {
                        if !plan.reversible {
                            <crate::component::badge::Badge
                                label={words::reversibility(&plan.reversibility).0} testid="one-way" />
                        }
                    }
                    if let Some(id) = change.rollback_of {
                        <Link to={Route::Change { id }} class="tag" testid="rollback-of">
                            { "Rollback of another change" }
                        </Link>
                    }
                    if let Some(id) = change.rolled_back_by {
                        <Link to={Route::Change { id }} class="tag" testid="rolled-back-by">
                            { "Has a rollback" }
                        </Link>
                    }
                </p>
                <p class="visually-hidden" aria-live="polite">
                    { words::change_standing(change.state, change.settled.is_some()).text }{ ". " }{ waits(change) }
                </p>
            </div>
            <div class="head-actions">
                <Link to={Route::Report { id: change.id }} class="button small" testid="change-report">
                    <Icon glyph={Glyph::Printer} />{ "Report" }
                </Link>
            </div>
        </header>
    }
}

/// Whoever decides has to know that what they see may be another thing when it runs.
fn conflicts(conflicts: &[ConflictView]) -> Html {
    html! {
        <Callout tone={Tone::Waiting} glyph={Glyph::Clock} testid="conflicts">
            <p><b>{ "Other changes under way meet this one. " }</b>
            { "They run one after the other, in the order in which they are executed; what one does can make \
               the plan of the next one outdated." }</p>
            <ul>
                { for conflicts.iter().map(|conflict| html! {
                    <li>
                        <Link to={Route::Change { id: conflict.id }} testid="conflict">
                            { format!("#{} {}", conflict.number, conflict.title) }
                        </Link>
                        { " " }<StateBadge state={conflict.state} settled=false />
                        <div class="small" data-testid="how">{ conflict.how.clone() }</div>
                    </li>
                }) }
            </ul>
        </Callout>
    }
}

fn body(
    change: &Rc<ChangeView>,
    planning: &Mutation,
    on_changed: &Callback<ChangeView>,
    on_undo: &Callback<()>,
    events: Option<Rc<Vec<EventView>>>,
    happened: Option<usize>,
) -> Html {
    html! {
        <div class="split">
            <div class="stack">
                if change.state == ChangeState::OutcomeUnknown {
                    <Callout tone={Tone::Waiting} glyph={Glyph::Question}>
                        <p><b>{ "Nobody knows whether it happened. " }</b>
                        { "The target was called and the answer was lost. It is not called again before \
                           somebody, or a read of the target, has settled what happened." }</p>
                    </Callout>
                }
                if !change.conflicts.is_empty() {
                    { conflicts(&change.conflicts) }
                }
                <secret::Secrets change={Rc::clone(change)} past={happened.is_some()} on_changed={on_changed.clone()} />
                <Plan change={Rc::clone(change)} busy={planning.busy() && happened.is_none()} />
                if change.rollout.is_some() {
                    <rollout::Rollout change={Rc::clone(change)} />
                } else if change.plan.is_some() || change.run.is_some() {
                    <step::Steps change={Rc::clone(change)} />
                }
                if happened.is_none() && preview::is_due(change) {
                    <preview::Preview change={Rc::clone(change)} on_ask={on_undo.clone()} />
                }
                if happened.is_none() {
                    <radius::Radius change={Rc::clone(change)} />
                }
                <section class="panel order-6" aria-labelledby="events-title">
                    <div class="panel-head">
                        <h2 id="events-title">{ "Events" }</h2>
                        <Link to={Route::Audit} class="small"
                            query={vec![("change_request_id", change.id.to_string())]}>
                            { "In the audit log" }
                        </Link>
                    </div>
                    if let Some(events) = events {
                        <EventList events={(*events).clone()} {happened} />
                    } else {
                        <Skeleton lines={4} />
                    }
                </section>
            </div>
            <div class="stack side">
                <fact::Facts change={Rc::clone(change)} />
                if let Some(risk) = change.risk.clone() {
                    <section class="panel order-3" aria-labelledby="risk-title">
                        <h2 id="risk-title">{ "Risk" }</h2>
                        <RiskPanel {risk} />
                    </section>
                }
                <Approvals change={Rc::clone(change)} />
            </div>
        </div>
    }
}
