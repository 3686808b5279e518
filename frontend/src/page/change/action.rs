//! What I may do now, and why not. The server decides: `allowed` comes with the change.

use std::rc::Rc;

use nexplane_core::api::{
    Allowed, ApproveRequest, BreakGlassRequest, ChangeView, OverrideFreezeRequest,
    OverrideWindowRequest, ReasonRequest, ReviewRequest,
};
use nexplane_core::id::{ChangeId, FreezeId};
use yew::prelude::*;
use yew_router::prelude::*;

use super::undo::UndoLimit;
use crate::api::{self, ApiError};
use crate::component::badge::Callout;
use crate::component::change_table::{name, target_count, targets, waits};
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::TextInput;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::time::Time;
use crate::component::toast::use_toaster;
use crate::format;
use crate::resource::{Mutation, use_mutation};
use crate::route::Route;
use crate::words::{self, Tone};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Plan,
    Submit,
    Approve,
    Execute,
    Rollback,
    Edit,
    Reject,
    Withdraw,
    Cancel,
    OverrideFreeze,
    OverrideWindow,
    BreakGlass,
    Review,
    Resume,
    Pause,
    Stop,
}

impl Act {
    /// In the order of the buttons: what goes forward first.
    const ALL: [Self; 16] = [
        Self::Submit,
        Self::Approve,
        Self::Execute,
        Self::Plan,
        Self::Rollback,
        Self::Edit,
        Self::Reject,
        Self::Withdraw,
        Self::Cancel,
        Self::OverrideFreeze,
        Self::OverrideWindow,
        Self::BreakGlass,
        Self::Review,
        Self::Resume,
        Self::Pause,
        Self::Stop,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Submit => "submit",
            Self::Approve => "approve",
            Self::Execute => "execute",
            Self::Rollback => "rollback",
            Self::Edit => "edit",
            Self::Reject => "reject",
            Self::Withdraw => "withdraw",
            Self::Cancel => "cancel",
            Self::OverrideFreeze => "override_freeze",
            Self::OverrideWindow => "override_window",
            Self::BreakGlass => "break_glass",
            Self::Review => "review",
            Self::Resume => "resume",
            Self::Pause => "pause",
            Self::Stop => "stop",
        }
    }

    fn path(self, change: ChangeId) -> String {
        format!("/change-requests/{change}/{}", self.name().replace('_', "-"))
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Plan => "Plan",
            Self::Submit => "Submit",
            Self::Approve => "Approve",
            Self::Execute => "Execute",
            Self::Rollback => "Roll back",
            Self::Edit => "Edit",
            Self::Reject => "Reject",
            Self::Withdraw => "Withdraw",
            Self::Cancel => "Cancel change",
            Self::OverrideFreeze => "Override the freeze",
            Self::OverrideWindow => "Override the window",
            Self::BreakGlass => "Break glass",
            Self::Review => "Review",
            Self::Resume => "Let it go on",
            Self::Pause => "Pause",
            Self::Stop => "Stop for good",
        }
    }

    /// It slows a rollout down, stops it, or lets it go on.
    const fn is_brake(self) -> bool {
        matches!(self, Self::Resume | Self::Pause | Self::Stop)
    }

    /// Nobody else waits for it.
    const fn is_of_the_author(self) -> bool {
        match self {
            Self::Plan | Self::Submit | Self::Edit | Self::Withdraw | Self::Cancel => true,
            Self::Approve
            | Self::Execute
            | Self::Rollback
            | Self::Reject
            | Self::OverrideFreeze
            | Self::OverrideWindow
            | Self::BreakGlass
            | Self::Review
            | Self::Resume
            | Self::Pause
            | Self::Stop => false,
        }
    }

    /// Nobody is told who is not the one for it: it is not the usual way.
    const fn is_for_few(self) -> bool {
        matches!(
            self,
            Self::OverrideFreeze
                | Self::OverrideWindow
                | Self::BreakGlass
                | Self::Review
                | Self::Resume
                | Self::Pause
                | Self::Stop
        )
    }
}

/// A button: what it does, and the reason when it cannot be pressed.
#[derive(Clone, Debug, PartialEq)]
struct Offered {
    act: Act,
    why_not: Option<String>,
}

/// The buttons that belong to where the change is. What its state rules out is not shown, nor how
/// somebody with another role may take it back or do it over; what only this person may not do is shown
/// with the reason.
fn offered(allowed: &[Allowed]) -> Vec<Offered> {
    let mut offered: Vec<Offered> = Act::ALL
        .into_iter()
        .filter_map(|act| {
            let entry = allowed.iter().find(|entry| entry.action == act.name())?;
            if entry.ok {
                return Some(Offered { act, why_not: None });
            }
            match entry.code.as_deref() {
                Some("change.not_in_state") => return None,
                Some("access.denied") if act.is_of_the_author() => return None,
                Some(_) if act.is_for_few() => return None,
                Some(_) | None => {}
            }
            let why_not = entry.why_not.clone().unwrap_or_else(|| "Not possible now.".to_owned());
            Some(Offered { act, why_not: Some(why_not) })
        })
        .collect();
    offered.sort_by_key(|offer| offer.why_not.is_some());
    offered
}

/// The reasons, each once, with what they stand in the way of.
fn refusals(offered: &[Offered]) -> Vec<(&str, Vec<Act>)> {
    let mut refusals: Vec<(&str, Vec<Act>)> = Vec::new();
    for offer in offered {
        let Some(why_not) = offer.why_not.as_deref() else { continue };
        match refusals.iter_mut().find(|(known, _)| *known == why_not) {
            Some((_, acts)) => acts.push(offer.act),
            None => refusals.push((why_not, vec![offer.act])),
        }
    }
    refusals
}

#[derive(Properties, PartialEq)]
pub struct ActionsProps {
    pub change: Rc<ChangeView>,
    /// Also started by the form of a new change.
    pub planning: Mutation,
    /// Only what slows a rollout down, or lets it go on.
    #[prop_or_default]
    pub brakes: bool,
    pub on_changed: Callback<ChangeView>,
    /// How often the rollback was asked for elsewhere on the page.
    #[prop_or_default]
    pub undo: u32,
}

#[component]
pub fn Actions(props: &ActionsProps) -> Html {
    let change = &props.change;
    let asked = use_state_eq(|| None::<Act>);
    let quick = use_mutation();
    let navigator = use_navigator().expect("every page is inside the router");
    let toaster = use_toaster();
    let mut offered = offered(&change.allowed);
    if props.brakes {
        offered.retain(|offer| offer.act.is_brake());
    }
    {
        let asked = asked.setter();
        use_effect_with(props.undo, move |undo| {
            if *undo > 0 {
                asked.set(Some(Act::Rollback));
            }
        });
    }

    let press = {
        let (asked, quick, planning) = (asked.clone(), quick.clone(), props.planning.clone());
        let (on_changed, id) = (props.on_changed.clone(), change.id);
        Callback::from(move |act: Act| {
            let call = move || async move { api::act::<ChangeView>(&act.path(id)).await };
            let on_changed = on_changed.clone();
            let toaster = toaster.clone();
            match act {
                Act::Plan => planning.start(call(), move |change| on_changed.emit(change)),
                Act::Submit => quick.start(call(), move |change| {
                    toaster.say("Submitted. It now waits for approval.");
                    on_changed.emit(change);
                }),
                Act::Edit => navigator.push(&Route::EditChange { id }),
                Act::Approve
                | Act::Execute
                | Act::Rollback
                | Act::Reject
                | Act::Withdraw
                | Act::Cancel
                | Act::OverrideFreeze
                | Act::OverrideWindow
                | Act::BreakGlass
                | Act::Review
                | Act::Resume
                | Act::Pause
                | Act::Stop => asked.set(Some(act)),
            }
        })
    };
    let busy = quick.busy() || props.planning.busy();
    // The next thing on the way forward; there is no such thing as the next way back, and to plan
    // again is one.
    let first = offered.iter().position(|offer| {
        offer.why_not.is_none()
            && (matches!(offer.act, Act::Submit | Act::Approve | Act::Execute)
                || offer.act == Act::Plan && change.plan.is_none())
    });
    let buttons = offered.iter().enumerate().map(|(index, offer)| {
        let (press, act) = (press.clone(), offer.act);
        let look = if first == Some(index) {
            "primary"
        } else if is_grave(act) {
            "danger"
        } else {
            ""
        };
        let word = if act == Act::Plan && props.planning.busy() {
            "Planning…"
        } else if act == Act::Plan && change.plan.is_some() {
            "Plan again"
        } else if act == Act::Submit && quick.busy() {
            "Submitting…"
        } else {
            act.word()
        };
        html! {
            <button type="button" class={classes!("button", look)} onclick={move |_| press.emit(act)}
                disabled={busy || offer.why_not.is_some()} title={offer.why_not.clone()}
                data-testid={format!("action-{}", act.name())}>
                { word }
            </button>
        }
    });
    let refusals = refusals(&offered).into_iter().map(|(why_not, acts)| {
        let list =
            |of: fn(Act) -> &'static str| acts.iter().map(|act| of(*act)).collect::<Vec<_>>();
        html! {
            <li data-testid="why-not" data-actions={list(Act::name).join(" ")}>
                <b>{ list(Act::word).join(", ") }</b>{ ": " }{ words::sentence(why_not) }
            </li>
        }
    });
    let look = words::change_standing(change.state, change.settled.is_some());
    let close = {
        let asked = asked.setter();
        Callback::from(move |()| asked.set(None))
    };
    html! {
        <section class={classes!("next", look.tone.class())} aria-label="What comes next">
            <div class="next-row">
                <p class="next-sentence" data-testid="change-waits">
                    <Icon glyph={look.glyph} /><span>{ waits(change) }</span>
                </p>
                <div class="next-actions">
                    { for buttons }
                    if offered.iter().any(|offer| offer.act == Act::Approve && offer.why_not.is_none()) {
                        <Link to={Route::Approve { id: change.id }} class="button" testid="approve-open">
                            { "What to know first" }
                        </Link>
                    }
                </div>
            </div>
            <ul class="why-not">{ for refusals }</ul>
            if !props.brakes {
                <UndoLimit change={Rc::clone(change)} />
            }
            { for quick.error().or(props.planning.error()).map(|error| html! {
                <ProblemNote error={error.clone()} />
            }) }
            if let Some(act) = *asked {
                <Confirm {act} change={Rc::clone(change)} on_close={close}
                    on_changed={props.on_changed.clone()} />
            }
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct ConfirmProps {
    act: Act,
    change: Rc<ChangeView>,
    on_close: Callback<()>,
    on_changed: Callback<ChangeView>,
}

/// Asks once more, for a comment, a reason or the target's name.
#[component]
fn Confirm(props: &ConfirmProps) -> Html {
    let ConfirmProps { act, change, .. } = props;
    let act = *act;
    let call = use_mutation();
    let text = use_state_eq(String::new);
    let typed = use_state_eq(String::new);
    // What is agreed to is the plan that was on the screen when the dialog opened.
    let digest = use_memo((), {
        let digest = change.plan.as_ref().map(|plan| plan.digest.clone());
        move |()| digest.unwrap_or_default()
    });
    let navigator = use_navigator().expect("every page is inside the router");
    let toaster = use_toaster();
    let word = (act == Act::Execute).then(|| word_to_type(change)).flatten();
    let ready = match act {
        Act::Reject
        | Act::Cancel
        | Act::OverrideFreeze
        | Act::OverrideWindow
        | Act::BreakGlass
        | Act::Review
        | Act::Pause
        | Act::Stop => !text.trim().is_empty(),
        Act::Execute => word.as_ref().is_none_or(|word| typed.trim() == word),
        Act::Plan
        | Act::Submit
        | Act::Approve
        | Act::Rollback
        | Act::Edit
        | Act::Withdraw
        | Act::Resume => true,
    };
    let onsubmit = {
        let (call, text, digest) = (call.clone(), text.clone(), digest.clone());
        let change = Rc::clone(change);
        let (on_close, on_changed) = (props.on_close.clone(), props.on_changed.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            if !ready {
                return;
            }
            let text = text.trim().to_owned();
            let digest = (*digest).clone();
            let (on_close, on_changed) = (on_close.clone(), on_changed.clone());
            let (navigator, toaster) = (navigator.clone(), toaster.clone());
            let freezes = change.frozen.iter().map(|frozen| frozen.freeze).collect();
            call.start(send(act, change.id, digest, text, freezes), move |change: ChangeView| {
                on_close.emit(());
                if act == Act::Rollback {
                    navigator.push(&Route::Change { id: change.id });
                    toaster.say(
                        "The rollback is a change of its own: this one. It is planned and submitted.",
                    );
                } else {
                    on_changed.emit(change);
                }
            });
        })
    };
    let setter = |state: &UseStateHandle<String>| {
        let state = state.setter();
        Callback::from(move |text| state.set(text))
    };
    html! {
        <Dialog title={title(act, change)} on_close={props.on_close.clone()} testid="confirm">
            <form {onsubmit} class="form">
                { explanation(act, change, &digest) }
                if matches!(act, Act::Reject | Act::Cancel | Act::Pause | Act::Stop) {
                    <TextInput id="confirm-reason" label="Reason" value={(*text).clone()} multiline=true
                        on_change={setter(&text)} autofocus=true testid="confirm-reason"
                        help="The requester reads it, and it stays in the audit log." />
                }
                if matches!(act, Act::OverrideFreeze | Act::OverrideWindow | Act::BreakGlass) {
                    <TextInput id="confirm-justification" label="Justification" value={(*text).clone()}
                        multiline=true on_change={setter(&text)} autofocus=true testid="confirm-justification"
                        help="Somebody else reads it afterwards, and it stays in the audit log." />
                }
                if act == Act::Review {
                    <TextInput id="confirm-findings" label="What you found" value={(*text).clone()}
                        multiline=true on_change={setter(&text)} autofocus=true testid="confirm-findings" />
                }
                if act == Act::Approve {
                    <TextInput id="confirm-comment" label="Comment" value={(*text).clone()} multiline=true
                        on_change={setter(&text)} optional=true autofocus=true testid="confirm-comment" />
                }
                if let Some(word) = &word {
                    <Callout tone={Tone::Failed} glyph={Glyph::OneWay}>
                        <p><b>{ "This cannot be undone." }</b>{ one_way_reason(change) }</p>
                    </Callout>
                    <TextInput id="confirm-name" label={format!("Type {word} to go on")}
                        value={(*typed).clone()} on_change={setter(&typed)} monospace=true autofocus=true
                        autocomplete="off" testid="confirm-name" />
                }
                if let Some(error) = call.error() {
                    <ProblemNote error={error.clone()} />
                    if moved(error) {
                        <p class="field-help">{ "Close this and look at the new plan before you decide." }</p>
                    }
                }
                <div class="actions">
                    <button class={classes!("button", look(act, word.is_some()))}
                        disabled={call.busy() || !ready} data-testid={format!("confirm-{}", act.name())}>
                        { if call.busy() { "One moment…" } else { act.word() } }
                    </button>
                    <button type="button" class="button" data-testid="confirm-back"
                        onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

async fn send(
    act: Act,
    change: ChangeId,
    plan_digest: String,
    text: String,
    freezes: Vec<FreezeId>,
) -> Result<ChangeView, ApiError> {
    let path = act.path(change);
    match act {
        Act::OverrideFreeze => {
            for freeze in freezes {
                let body = OverrideFreezeRequest { freeze, justification: text.clone() };
                let _: ChangeView = api::post(&path, &body).await?;
            }
            api::get(&format!("/change-requests/{change}")).await
        }
        Act::OverrideWindow => {
            api::post(&path, &OverrideWindowRequest { justification: text }).await
        }
        Act::BreakGlass => {
            api::post(&path, &BreakGlassRequest { plan_digest, justification: text }).await
        }
        Act::Review => api::post(&path, &ReviewRequest { comment: text }).await,
        Act::Approve => {
            let comment = Some(text).filter(|text| !text.is_empty());
            api::post(&path, &ApproveRequest { plan_digest, comment, delegator: None }).await
        }
        Act::Reject | Act::Cancel | Act::Pause | Act::Stop => {
            api::post(&path, &ReasonRequest { reason: text }).await
        }
        Act::Plan
        | Act::Submit
        | Act::Execute
        | Act::Rollback
        | Act::Edit
        | Act::Withdraw
        | Act::Resume => api::act(&path).await,
    }
}

/// Before something that cannot be undone: the target's name, or how many targets.
pub fn word_to_type(change: &ChangeView) -> Option<String> {
    if change.plan.as_ref().is_none_or(|plan| plan.reversible) {
        return None;
    }
    Some(match change.targets.as_slice() {
        [one] => name(change, one.0),
        _ => format!("{} targets", target_count(change)),
    })
}

fn one_way_reason(change: &ChangeView) -> String {
    change
        .plan
        .as_ref()
        .map(|plan| format!(" {}", words::reversibility(&plan.reversibility).1))
        .unwrap_or_default()
}

/// The plan is another one than was looked at, or than the target is.
pub fn moved(error: &ApiError) -> bool {
    matches!(error.code(), Some("change.plan_moved" | "change.stale_digest"))
}

const fn is_grave(act: Act) -> bool {
    matches!(
        act,
        Act::Reject
            | Act::Cancel
            | Act::OverrideFreeze
            | Act::OverrideWindow
            | Act::BreakGlass
            | Act::Stop
    )
}

const fn look(act: Act, one_way: bool) -> &'static str {
    if is_grave(act) || matches!(act, Act::Execute) && one_way { "danger solid" } else { "primary" }
}

fn title(act: Act, change: &ChangeView) -> String {
    format!("{} #{}", if act == Act::Cancel { "Cancel" } else { act.word() }, change.number)
}

fn explanation(act: Act, change: &ChangeView, digest: &str) -> Html {
    let what = format!("“{}” on {}", change.title, targets(change));
    match act {
        Act::Approve => html! {
            <p>{ format!("You agree to {what}, exactly as in plan ") }
                <code>{ format::short_digest(digest) }</code>
                { ". If the plan changes, your approval no longer counts." }</p>
        },
        Act::Execute => html! {
            <p>{ format!("{what} is executed now. The target is read again first; if it moved since \
                          the plan, nothing is done.") }</p>
        },
        Act::Rollback => html! {
            <>
                <p>{ "This makes a new change that restores the state captured before. It is planned and \
                      submitted at once, and approved like any other." }</p>
                if let Some(rollback) = change.rollback {
                    <p data-testid="undo-by">
                        { "It has to be approved and executed before " }<Time at={rollback.possible_until} />
                        { ": what it was before is kept until then." }
                    </p>
                }
            </>
        },
        Act::Reject => html! { <p>{ format!("{what} will not be executed.") }</p> },
        Act::Withdraw => html! {
            <p>{ format!("{what} becomes a draft again. Approvals given so far no longer count.") }</p>
        },
        Act::Cancel if change.state == nexplane_core::api::ChangeState::Executing => html! {
            <p>{ "The step that is under way comes to its end, and no other begins. What was done stays as it is; you can roll it back afterwards." }</p>
        },
        Act::Cancel => html! { <p>{ format!("{what} is closed for good.") }</p> },
        Act::OverrideFreeze => html! {
            <>
                <p>{ format!("{what} may be approved and executed in spite of:") }</p>
                <ul>
                    { for change.frozen.iter().map(|frozen| html! {
                        <li>{ format!("“{}” until ", frozen.reason) }<Time at={frozen.end} /></li>
                    }) }
                </ul>
                <p>{ "Only as it is planned now, and somebody else has to review it afterwards." }</p>
            </>
        },
        Act::OverrideWindow => html! {
            <p>{ format!("{what} may run outside of maintenance windows, as it is planned now. Somebody \
                          else has to review it afterwards.") }</p>
        },
        Act::BreakGlass => html! {
            <>
                <p>{ format!("You alone stand for all approvals of {what}, and for the delay after them, exactly \
                              as in plan ") }
                    <code data-testid="confirm-digest">{ format::short_digest(digest) }</code>
                    { ". It is approved at once, for at most four hours." }</p>
                <p>{ "Freezes, windows and all that it comes after hold as ever. Somebody else has to review it \
                      within 72 hours after it has ended. While such a review is overdue, you cannot do this \
                      again." }</p>
            </>
        },
        Act::Review => html! {
            <>
                <p>{ "It was let pass for these reasons:" }</p>
                <ul>
                    { for change.overrides.iter().map(|given| html! { <li>{ &given.justification }</li> }) }
                    { for change.glass.iter().map(|broken| html! {
                        <li>{ "Glass was broken: " }{ &broken.justification }</li>
                    }) }
                </ul>
            </>
        },
        Act::Resume => html! { <p>{ format!("{what} goes on with the next targets.") }</p> },
        Act::Pause => html! {
            <p>{ "No further target is begun until an operator lets it go on. What is under way comes to \
                  its end." }</p>
        },
        Act::Stop => html! {
            <p>{ "No further target is begun, for good. What is under way comes to its end; what was done \
                  can be rolled back, and the rest needs a new change." }</p>
        },
        Act::Plan | Act::Submit | Act::Edit => html! {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(action: &str, ok: bool, code: Option<&str>) -> Allowed {
        Allowed {
            action: action.to_owned(),
            ok,
            code: code.map(str::to_owned),
            why_not: code.map(|code| format!("because of {code}")),
        }
    }

    #[test]
    fn the_state_hides_and_the_person_is_told_why() {
        let offered = offered(&[
            allowed("execute", false, Some("change.quorum_missing")),
            allowed("approve", false, Some("change.own_approval")),
            allowed("reject", false, Some("change.own_approval")),
            allowed("plan", false, Some("change.not_in_state")),
            allowed("edit", false, Some("access.denied")),
            allowed("cancel", true, None),
        ]);
        let names: Vec<_> = offered.iter().map(|offer| offer.act.name()).collect();
        assert_eq!(names, ["cancel", "approve", "execute", "reject"]);
        assert_eq!(offered[0].why_not, None);
        assert_eq!(
            refusals(&offered),
            [
                ("because of change.own_approval", vec![Act::Approve, Act::Reject]),
                ("because of change.quorum_missing", vec![Act::Execute]),
            ]
        );
    }

    #[test]
    fn every_act_has_a_button() {
        let names: std::collections::BTreeSet<_> = Act::ALL.iter().map(|act| act.name()).collect();
        assert_eq!(names.len(), Act::ALL.len());
    }
}
