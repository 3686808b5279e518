//! Freezes: which hold, declaring one, and ending one before its time.

use std::rc::Rc;

use nexplane_core::actor::Role;
use nexplane_core::api::{
    DeclareFreezeRequest, FreezeState, FreezeView, Page, ReasonRequest, ScopeRequest,
};
use nexplane_core::risk::Environment;
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use super::{listed, scope};
use crate::component::badge::Badge;
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Select, TextInput};
use crate::component::problem::ProblemNote;
use crate::component::time::{Time, use_now};
use crate::resource::{use_mutation, use_resource};
use crate::session::{has, use_me};
use crate::{api, clock, format, words};

const ENVIRONMENTS: [Environment; 3] = [Environment::Prod, Environment::Staging, Environment::Dev];

/// What is done about freezes.
#[derive(Clone, PartialEq)]
enum Doing {
    Nothing,
    Declaring,
    Ending(Rc<FreezeView>),
}

#[derive(Properties, PartialEq)]
pub struct FreezesProps {
    /// One was declared or ended.
    pub on_change: Callback<()>,
}

/// The environments, as a choice.
pub fn environments(before: &str) -> impl Iterator<Item = (AttrValue, AttrValue)> {
    let name = move |it: Environment| {
        (AttrValue::from(it.as_str()), AttrValue::from(format!("{before}{}", it.as_str())))
    };
    ENVIRONMENTS.into_iter().map(name)
}

/// What a freeze or a window can cover, as a choice.
pub fn scopes() -> Vec<(AttrValue, AttrValue)> {
    let mut scopes = vec![(AttrValue::from("all"), AttrValue::from("Every change"))];
    scopes.extend(environments("Changes in "));
    scopes.push((AttrValue::from("tag"), AttrValue::from("Changes of targets with a tag …")));
    scopes
}

/// What was chosen of [`scopes`]; nothing while the tag is missing.
pub fn scope_of(chosen: &str, tag: &str) -> Option<ScopeRequest> {
    Some(match chosen {
        "all" => ScopeRequest::All {},
        "tag" => {
            ScopeRequest::Tag { tag: Some(tag.trim()).filter(|tag| !tag.is_empty())?.to_owned() }
        }
        name => {
            let environment = ENVIRONMENTS.into_iter().find(|it| it.as_str() == name)?;
            ScopeRequest::Environment { environment }
        }
    })
}

#[component]
pub fn Freezes(props: &FreezesProps) -> Html {
    let freezes = use_resource::<Page<FreezeView>>(Some("/freeze-windows?limit=200".to_owned()));
    let doing = use_state(|| Doing::Nothing);
    let (me, now) = (use_me(), use_now());
    let is_admin = has(me.as_deref(), Role::Admin);
    let close = {
        let doing = doing.setter();
        use_callback((), move |(), ()| doing.set(Doing::Nothing))
    };
    let done = {
        let (doing, freezes, on_change) =
            (doing.setter(), freezes.clone(), props.on_change.clone());
        Callback::from(move |()| {
            doing.set(Doing::Nothing);
            freezes.reload();
            on_change.emit(());
        })
    };
    let declare = {
        let doing = doing.setter();
        move |_: MouseEvent| doing.set(Doing::Declaring)
    };
    html! {
        <section class="panel flush" aria-labelledby="freezes-title">
            <div class="panel-head">
                <h2 id="freezes-title">{ "Freezes" }</h2>
                if is_admin {
                    <button type="button" class="button" onclick={declare} data-testid="freeze-declare">
                        <Icon glyph={Glyph::Plus} />{ "Declare a freeze" }
                    </button>
                }
            </div>
            { listed(&freezes, |all| {
                let shown = in_order(all, now);
                if shown.is_empty() {
                    return html! {
                        <p class="faint panel-note" data-testid="freezes-none">
                            { "Nothing is frozen, and nothing will be." }
                        </p>
                    };
                }
                let row = |view: &FreezeView| {
                    let (doing, ended) = (doing.setter(), Rc::new(view.clone()));
                    let end = is_admin.then(|| {
                        Callback::from(move |_: MouseEvent| doing.set(Doing::Ending(Rc::clone(&ended))))
                    });
                    freeze(view, now, end)
                };
                html! {
                    <div class="table-frame inner">
                        <table class="table" data-testid="freeze-list">
                            <thead><tr>
                                <th scope="col">{ "Stops" }</th><th scope="col">{ "Why" }</th>
                                <th scope="col">{ "From" }</th><th scope="col">{ "Until" }</th>
                                <th scope="col" class="col-buttons"><span class="visually-hidden">{ "What can be done" }</span></th>
                            </tr></thead>
                            <tbody>{ for shown.into_iter().map(row) }</tbody>
                        </table>
                    </div>
                }
            }) }
            { match &*doing {
                Doing::Nothing => html! {},
                Doing::Declaring => html! { <Declare on_close={close} on_done={done} /> },
                Doing::Ending(freeze) => html! {
                    <End freeze={Rc::clone(freeze)} on_close={close} on_done={done} />
                },
            } }
        </section>
    }
}

/// What it is at this moment, which may be later than when it was read.
fn state_at(view: &FreezeView, now: Timestamp) -> FreezeState {
    match view.state {
        FreezeState::Ended => FreezeState::Ended,
        FreezeState::Upcoming | FreezeState::InForce | FreezeState::Over => {
            if now < view.start {
                FreezeState::Upcoming
            } else if now < view.end {
                FreezeState::InForce
            } else {
                FreezeState::Over
            }
        }
    }
}

/// Those in force, the one that ends first at the top; those to come; and a few that are over.
fn in_order(all: &[FreezeView], now: Timestamp) -> Vec<&FreezeView> {
    const PAST: usize = 10;
    let of = |state: FreezeState| all.iter().filter(move |view| state_at(view, now) == state);
    let mut in_force: Vec<_> = of(FreezeState::InForce).collect();
    in_force.sort_by_key(|view| view.end);
    let mut upcoming: Vec<_> = of(FreezeState::Upcoming).collect();
    upcoming.sort_by_key(|view| view.start);
    let mut past: Vec<_> = of(FreezeState::Over).chain(of(FreezeState::Ended)).collect();
    past.sort_by_key(|view| std::cmp::Reverse(view.ended_at.unwrap_or(view.end)));
    in_force.into_iter().chain(upcoming).chain(past.into_iter().take(PAST)).collect()
}

fn freeze(view: &FreezeView, now: Timestamp, end: Option<Callback<MouseEvent>>) -> Html {
    let state = state_at(view, now);
    let holds = matches!(state, FreezeState::InForce | FreezeState::Upcoming);
    let name = |id: uuid::Uuid| view.names.get(&id.to_string()).cloned();
    let by = name(view.declared_by.0).unwrap_or_else(|| format::short_id(view.declared_by.0));
    html! {
        <tr key={view.id.to_string()} data-testid="freeze-row" data-state={state.as_str()}>
            <td class="col-main">
                <b>{ words::sentence(&scope(&view.scope)) }</b>
                <p><Badge label={words::freeze_state(state)} /></p>
            </td>
            <td>
                { &view.reason }
                <p class="faint small">{ format!("declared by {by}") }</p>
                if let Some(why) = &view.ended_reason {
                    <p class="faint small">{ format!("ended: {why}") }</p>
                }
            </td>
            <td><Time at={view.start} /></td>
            <td>
                <Time at={view.ended_at.unwrap_or(view.end)} />
                if state == FreezeState::InForce {
                    <p class="faint small">{ format!("{} left", format::span(now, view.end)) }</p>
                }
            </td>
            <td class="col-buttons">
                if let Some(end) = end.filter(|_| holds) {
                    <button type="button" class="button small danger" onclick={end} data-testid="freeze-end">
                        { "End it" }
                    </button>
                }
            </td>
        </tr>
    }
}

#[derive(Properties, PartialEq)]
struct DeclareProps {
    on_close: Callback<()>,
    on_done: Callback<()>,
}

#[derive(Clone, PartialEq)]
struct Form {
    /// `all`, the name of an environment, or `tag`.
    scope: String,
    tag: String,
    start: String,
    end: String,
    reason: String,
}

impl Form {
    /// What is asked for; nothing while something is missing. `moment` reads what an input for times holds.
    fn request(
        &self,
        now: Timestamp,
        moment: impl Fn(&str) -> Option<Timestamp>,
    ) -> Option<DeclareFreezeRequest> {
        let scope = scope_of(&self.scope, &self.tag)?;
        let start = if self.start.is_empty() { now } else { moment(&self.start)? };
        let end = moment(&self.end)?;
        let reason = Some(self.reason.trim()).filter(|reason| !reason.is_empty())?.to_owned();
        Some(DeclareFreezeRequest { scope, start, end, reason })
    }
}

#[component]
fn Declare(props: &DeclareProps) -> Html {
    let form = use_state(|| Form {
        scope: "all".to_owned(),
        tag: String::new(),
        start: String::new(),
        end: String::new(),
        reason: String::new(),
    });
    let declare = use_mutation();
    let request = form.request(clock::now(), clock::from_local_input);
    let set = |change: fn(&mut Form, String)| {
        let form = form.clone();
        Callback::from(move |text: String| {
            let mut next = (*form).clone();
            change(&mut next, text);
            form.set(next);
        })
    };
    let onsubmit = {
        let (declare, request, on_done) = (declare.clone(), request.clone(), props.on_done.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (Some(request), on_done) = (request.clone(), on_done.clone()) else { return };
            declare.start(
                async move { api::post::<FreezeView>("/freeze-windows", &request).await },
                move |_| on_done.emit(()),
            );
        })
    };
    let close = props.on_close.reform(|_: MouseEvent| ());
    html! {
        <Dialog title="Declare a freeze" on_close={props.on_close.clone()} testid="freeze-form">
            <form {onsubmit} class="form">
                <Select id="freeze-scope" label="What it stops" value={form.scope.clone()} options={scopes()}
                    on_change={set(|form, text| form.scope = text)} testid="freeze-scope" />
                if form.scope == "tag" {
                    <TextInput id="freeze-tag" label="Tag" value={form.tag.clone()} testid="freeze-tag"
                        on_change={set(|form, text| form.tag = text)} />
                }
                <TextInput id="freeze-start" label="From" kind="datetime-local" optional=true value={form.start.clone()}
                    help="Now, when it is empty. In your time zone." testid="freeze-start"
                    on_change={set(|form, text| form.start = text)} />
                <TextInput id="freeze-until" label="Until" kind="datetime-local" value={form.end.clone()}
                    on_change={set(|form, text| form.end = text)} testid="freeze-until" />
                <TextInput id="freeze-reason" label="Why" multiline=true value={form.reason.clone()}
                    help="Everybody whom it stops reads this." testid="freeze-reason"
                    on_change={set(|form, text| form.reason = text)} />
                if let Some(error) = declare.error() {
                    <ProblemNote error={error.clone()} />
                }
                <p class="faint small">{ "What runs already goes on. A responder can let a single change pass." }</p>
                <div class="actions">
                    <button class="button primary" disabled={declare.busy() || request.is_none()}
                        data-testid="freeze-save">{ "Declare it" }</button>
                    <button type="button" class="button" onclick={close}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[derive(Properties, PartialEq)]
struct EndProps {
    freeze: Rc<FreezeView>,
    on_close: Callback<()>,
    on_done: Callback<()>,
}

#[component]
fn End(props: &EndProps) -> Html {
    let reason = use_state_eq(String::new);
    let end = use_mutation();
    let onsubmit = {
        let (end, id, on_done) = (end.clone(), props.freeze.id, props.on_done.clone());
        let reason = reason.trim().to_owned();
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (request, on_done) = (ReasonRequest { reason: reason.clone() }, on_done.clone());
            end.start(
                async move {
                    api::post::<FreezeView>(&format!("/freeze-windows/{id}/end"), &request).await
                },
                move |_| on_done.emit(()),
            );
        })
    };
    let close = props.on_close.reform(|_: MouseEvent| ());
    html! {
        <Dialog title="End the freeze" on_close={props.on_close.clone()} testid="freeze-end-form">
            <form {onsubmit} class="form">
                <p>{ format!("From now on it no longer stops {}: ", scope(&props.freeze.scope)) }<q>{ &props.freeze.reason }</q></p>
                <TextInput id="freeze-end-reason" label="Why it ends early" value={(*reason).clone()} autofocus=true
                    on_change={let reason = reason.setter(); move |text| reason.set(text)} testid="freeze-end-reason" />
                if let Some(error) = end.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button danger" disabled={end.busy() || reason.trim().is_empty()}
                        data-testid="freeze-end-save">{ "End it now" }</button>
                    <button type="button" class="button" onclick={close}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nexplane_core::calendar::event::Scope;
    use nexplane_core::id::{FreezeId, PersonId};
    use uuid::Uuid;

    use super::*;

    fn at(hour: u8) -> Timestamp {
        format!("2026-11-27T{hour:02}:00:00Z").parse().unwrap()
    }

    fn freeze(reason: &str, start: u8, end: u8, state: FreezeState) -> FreezeView {
        FreezeView {
            id: FreezeId(Uuid::nil()),
            state,
            scope: Scope::All,
            start: at(start),
            end: at(end),
            reason: reason.to_owned(),
            declared_by: PersonId(Uuid::nil()),
            declared_at: at(0),
            ended_by: None,
            ended_at: None,
            ended_reason: None,
            names: BTreeMap::new(),
        }
    }

    /// The page may be open for hours: what was to come when it was read is in force by then.
    #[test]
    fn freezes_are_what_the_clock_says() {
        let all = [
            freeze("later", 20, 22, FreezeState::Upcoming),
            freeze("long", 1, 23, FreezeState::InForce),
            freeze("short", 1, 12, FreezeState::Upcoming),
            freeze("over", 1, 2, FreezeState::InForce),
            freeze("ended", 1, 23, FreezeState::Ended),
        ];
        let shown: Vec<_> = in_order(&all, at(10)).iter().map(|it| it.reason.as_str()).collect();
        assert_eq!(shown, ["short", "long", "later", "ended", "over"]);
        assert_eq!(state_at(&all[2], at(12)), FreezeState::Over, "the end is free again");
    }

    #[test]
    fn a_freeze_needs_an_end_a_reason_and_a_tag_that_is_one() {
        let form = Form {
            scope: "tag".to_owned(),
            tag: " ".to_owned(),
            start: String::new(),
            end: String::new(),
            reason: "Release.".to_owned(),
        };
        let moment = |text: &str| text.parse().ok();
        assert_eq!(form.request(at(1), moment), None);
        let tagged = Form { tag: " shop".to_owned(), ..form };
        assert_eq!(tagged.request(at(1), moment), None, "without an end");
        let until = Form { end: at(9).to_string(), ..tagged };
        let request = until.request(at(1), moment).unwrap();
        assert_eq!(request.scope, ScopeRequest::Tag { tag: "shop".to_owned() });
        assert_eq!((request.start, request.end), (at(1), at(9)));
        let reasonless = Form { reason: " ".to_owned(), ..until };
        assert_eq!(reasonless.request(at(1), moment), None);
    }
}
