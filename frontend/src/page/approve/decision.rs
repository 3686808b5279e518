//! The decision: at the bottom of the screen, always. It names the plan that was looked at.

use std::rc::Rc;

use nexplane_core::api::{ApproveRequest, ChangeContext, ChangeView, ReasonRequest, WayView};
use nexplane_core::id::ChangeId;
use yew::prelude::*;

use crate::api;
use crate::component::change_table::waits;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Select, TextInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::format;
use crate::page::change::{moved as plan_moved, word_to_type};
use crate::resource::use_mutation;
use crate::route::Route;
use crate::shortcut::focus;
use crate::words;

/// Where the key `d` goes ([`crate::component::shell`]).
const COMMENT: &str = "decide-comment";

#[derive(Properties, PartialEq)]
pub struct DecisionProps {
    pub change: Rc<ChangeView>,
    /// Of the plan that was looked at.
    pub digest: String,
    /// It is not the plan of now.
    pub moved: bool,
    pub context: Option<Rc<ChangeContext>>,
    /// The next change that waits for the reader.
    pub next: Option<(ChangeId, String)>,
    pub on_changed: Callback<ChangeView>,
    /// The server said that the plan is another one.
    pub on_stale: Callback<()>,
}

#[component]
pub fn Decision(props: &DecisionProps) -> Html {
    let change = &props.change;
    let done = use_state_eq(|| None::<&'static str>);
    {
        // Whoever decided goes on with the next one; the button that they pressed is gone.
        use_effect_with(*done, |done| {
            if done.is_some() {
                focus("[data-testid='decision'] .decision-next a");
            }
        });
    }
    let on_done = {
        let (done, on_changed) = (done.setter(), props.on_changed.clone());
        Callback::from(move |(word, answer): (&'static str, ChangeView)| {
            done.set(Some(word));
            on_changed.emit(answer);
        })
    };
    let ways: Vec<WayView> = props.context.iter().flat_map(|c| c.approving.ways.clone()).collect();
    let open: Vec<WayView> = ways.iter().filter(|way| way.ok).cloned().collect();
    let may_reject = change.allowed.iter().any(|entry| entry.action == "reject" && entry.ok);
    let body = if let Some(word) = *done {
        html! {
            <p class="decision-said" role="status" data-testid="decision-done">
                <Icon glyph={Glyph::Check} />
                <span><b>{ format!("{word} #{}. ", change.number) }</b>{ waits(change) }</span>
            </p>
        }
    } else if props.context.is_none() {
        html! { <p class="faint decision-said">{ "Asking what you may do…" }</p> }
    } else if open.is_empty() && !may_reject {
        let why_not = ways.first().map(|way| way.because.clone()).unwrap_or_default();
        html! {
            <p class="decision-said" data-testid="decision-why-not">
                <Icon glyph={Glyph::Blocked} /><span>{ words::sentence(&why_not) }</span>
            </p>
        }
    } else {
        html! {
            <Choice change={change.clone()} digest={props.digest.clone()} moved={props.moved}
                ways={open} {may_reject} {on_done} on_stale={props.on_stale.clone()} />
        }
    };
    html! {
        <section class="decision" aria-label="Your decision" data-testid="decision">
            { body }
            <p class="decision-next">
                if let Some((id, title)) = &props.next {
                    <Link to={Route::Approve { id: *id }} testid="approve-next"
                        class={if done.is_some() { "button primary" } else { "button quiet" }}>
                        { if done.is_some() { "Next: " } else { "Skip to " } }<span class="decision-title">{ title }</span>
                    </Link>
                } else {
                    <Link to={Route::Approvals} class="button quiet" testid="approve-inbox">
                        { if done.is_some() { "Nothing else waits for you: to the inbox" } else { "To the inbox" } }
                    </Link>
                }
            </p>
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct ChoiceProps {
    change: Rc<ChangeView>,
    digest: String,
    moved: bool,
    /// Those that are open: for the reader themself, or for who delegated it to them.
    ways: Vec<WayView>,
    may_reject: bool,
    on_done: Callback<(&'static str, ChangeView)>,
    on_stale: Callback<()>,
}

#[component]
fn Choice(props: &ChoiceProps) -> Html {
    let ChoiceProps { change, digest, moved, ways, may_reject, .. } = props;
    let text = use_state_eq(String::new);
    let typed = use_state_eq(String::new);
    // Of several ways the first one, until the reader says otherwise.
    let chosen = use_state_eq(String::new);
    let lacks_reason = use_state_eq(|| false);
    let call = use_mutation();
    let word = word_to_type(change);
    let may_approve = !ways.is_empty();
    let ready = !moved && may_approve && word.as_ref().is_none_or(|word| typed.trim() == word);
    let way = ways.iter().find(|way| key(way) == *chosen).or_else(|| ways.first());
    let delegator = way.and_then(|way| way.delegator.as_ref()).map(|person| person.id.to_string());

    let approve = {
        let (call, text, digest, id) = (call.clone(), text.clone(), digest.clone(), change.id);
        let on_done = props.on_done.clone();
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            if !ready {
                return;
            }
            let comment = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
            let (plan_digest, delegator) = (digest.clone(), delegator.clone());
            let on_done = on_done.clone();
            call.start(
                async move {
                    let path = format!("/change-requests/{id}/approve");
                    let body = ApproveRequest { plan_digest, comment, delegator };
                    api::post::<ChangeView>(&path, &body).await
                },
                move |answer| on_done.emit(("You approved", answer)),
            );
        })
    };
    let reject = {
        // A rejection names no plan: the version does, of the change whose plan was looked at.
        let (call, text, id, version) = (call.clone(), text.clone(), change.id, change.version);
        let (on_done, lacks_reason) = (props.on_done.clone(), lacks_reason.setter());
        Callback::from(move |_: MouseEvent| {
            let reason = text.trim().to_owned();
            lacks_reason.set(reason.is_empty());
            if reason.is_empty() {
                focus(&format!("#{COMMENT}"));
                return;
            }
            let on_done = on_done.clone();
            call.start(
                async move {
                    let path = format!("/change-requests/{id}/reject");
                    api::post_at::<ChangeView>(&path, &ReasonRequest { reason }, version).await
                },
                move |answer| on_done.emit(("You rejected", answer)),
            );
        })
    };
    {
        // What the server knows better is read again; it is not sent again.
        let on_stale = props.on_stale.clone();
        let is_stale = call.error().is_some_and(|e| plan_moved(e) || e.status() == Some(412));
        use_effect_with(is_stale, move |is_stale| {
            if *is_stale {
                on_stale.emit(());
            }
        });
    }
    let set_text = {
        let (text, lacks_reason) = (text.setter(), lacks_reason.setter());
        Callback::from(move |new: String| {
            lacks_reason.set(false);
            text.set(new);
        })
    };
    let error = lacks_reason.then(|| AttrValue::from("Say why: the requester reads it."));
    let options: Vec<(AttrValue, AttrValue)> = ways
        .iter()
        .map(|way| {
            let text = way
                .delegator
                .as_ref()
                .map_or_else(|| "yourself".to_owned(), |person| format!("for {}", person.name));
            (AttrValue::from(key(way)), AttrValue::from(text))
        })
        .collect();
    html! {
        <form class="decision-form" onsubmit={approve}>
            { for call.error().map(|error| html! { <ProblemNote error={error.clone()} /> }) }
            <div class="decision-inputs">
                <TextInput id={COMMENT} label="Comment, or why not" value={(*text).clone()} multiline=true
                    on_change={set_text} {error} testid="decide-comment" />
                if options.len() > 1 {
                    <Select id="decide-as" label="Approve as" {options} value={chosen.to_string()}
                        on_change={let chosen = chosen.setter(); move |key| chosen.set(key)}
                        testid="decide-as" />
                }
                if let Some(word) = word.as_ref().filter(|_| may_approve) {
                    <TextInput id="decide-name" label={format!("It cannot be undone: type {word} to approve")}
                        value={(*typed).clone()} monospace=true autocomplete="off" testid="decide-name"
                        on_change={let typed = typed.setter(); move |text| typed.set(text)} />
                }
            </div>
            <div class="decision-buttons">
                <button class="button primary" disabled={!ready || call.busy()} data-testid="decide-approve"
                    title={moved.then_some("Look at the new plan first")}>
                    { if call.busy() { "One moment…" } else { "Approve" } }
                </button>
                if *may_reject {
                    <button type="button" class="button danger" onclick={reject} disabled={*moved || call.busy()}
                        data-testid="decide-reject">{ "Reject" }</button>
                }
                <span class="faint small decision-digest">
                    { "plan " }<code data-testid="decide-digest">{ format::short_digest(digest) }</code>
                </span>
            </div>
        </form>
    }
}

/// Of one way among several.
fn key(way: &WayView) -> String {
    way.delegator.as_ref().map(|person| person.id.to_string()).unwrap_or_default()
}
