//! A draft of the next version: its text, what the past would have been with it, and publishing it.
//!
//! What is typed is kept in this browser until it is published or thrown away, so that neither a reload, nor somebody
//! else's version, nor the end of a session loses it.

use std::rc::Rc;

use nexplane_core::api::{Me, PolicyView, PublishPolicyRequest, SimulationView};
use nexplane_core::policy::{PolicyDocument, Shift, SimulatedChange};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use web_sys::HtmlTextAreaElement;
use yew::prelude::*;

use super::{author, found};
use crate::api::{self, ApiError};
use crate::component::badge::{Badge, Callout, StateBadge};
use crate::component::dialog::Dialog;
use crate::component::diff::Lines;
use crate::component::icon::Glyph;
use crate::component::input::TextInput;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::policy_text::{self, Wrong};
use crate::resource::use_mutation;
use crate::route::Route;
use crate::words::{self, Tone};
use crate::{diff, format, storage};

/// What has to be typed to publish a version that asks for less.
const WEAKER: &str = "asks for less";

/// Where the draft of a person is kept.
pub fn key(me: &Me) -> String {
    format!("policy-draft:{}", me.id)
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The version that it was begun on, or last compared with.
    based_on: u32,
    text: String,
}

impl Kept {
    fn read(key: &str) -> Option<Self> {
        serde_json::from_str(&storage::read(key)?).ok()
    }

    fn write(&self, key: &str) {
        storage::write(key, serde_json::to_string(self).ok().as_deref());
    }
}

/// What the past would have been, with the text that it was asked for, and the version that it was compared with.
#[derive(Clone, PartialEq)]
struct Simulated {
    text: String,
    against: u32,
    view: Rc<SimulationView>,
}

#[derive(Properties, PartialEq)]
pub struct DraftProps {
    pub storage_key: String,
    pub in_force: PolicyView,
    pub may_publish: bool,
    pub on_published: Callback<()>,
    /// Somebody else has published.
    pub on_moved: Callback<()>,
}

#[component]
pub fn Draft(props: &DraftProps) -> Html {
    let DraftProps { storage_key, in_force, .. } = props;
    let draft = use_state_eq(|| {
        Kept::read(storage_key).unwrap_or_else(|| Kept {
            based_on: in_force.version,
            text: policy_text::text(&in_force.document),
        })
    });
    let wrong = use_state_eq(Vec::<Wrong>::new);
    let simulated = use_state_eq(|| None::<Simulated>);
    let publishing = use_state_eq(|| false);
    let note = use_state_eq(String::new);
    let simulate = use_mutation();
    let area = use_node_ref();

    let oninput = {
        let (draft, wrong, key) = (draft.clone(), wrong.setter(), storage_key.clone());
        Callback::from(move |event: InputEvent| {
            let text = event.target_unchecked_into::<HtmlTextAreaElement>().value();
            let kept = Kept { text, ..(*draft).clone() };
            kept.write(&key);
            draft.set(kept);
            wrong.set(Vec::new());
        })
    };
    // Simulates, and then goes on to publishing when that was asked for.
    let ask = {
        let (draft, wrong, simulated) = (draft.clone(), wrong.setter(), simulated.setter());
        let (simulate, publishing) = (simulate.clone(), publishing.setter());
        let against = in_force.version;
        Callback::from(move |publish: bool| {
            let text = draft.text.clone();
            let document: Value = match policy_text::parsed(&text) {
                Ok(document) => document,
                Err(found) => return wrong.set(vec![found]),
            };
            let (wrong, simulated) = (wrong.clone(), simulated.clone());
            let publishing = publishing.clone();
            let asked = text.clone();
            let call = async move {
                let answer = api::post::<SimulationView>(
                    "/policies/simulate",
                    &json!({ "document": document }),
                )
                .await;
                wrong.set(
                    answer.as_ref().err().map(|error| faults(error, &asked)).unwrap_or_default(),
                );
                answer
            };
            simulate.start(call, move |view| {
                simulated.set(Some(Simulated { text, against, view: Rc::new(view) }));
                publishing.set(publish);
            });
        })
    };
    let fresh = simulated
        .as_ref()
        .filter(|simulated| simulated.text == draft.text && simulated.against == in_force.version);
    let publish = {
        let (ask, publishing, known) = (ask.clone(), publishing.setter(), fresh.is_some());
        move |_: MouseEvent| if known { publishing.set(true) } else { ask.emit(true) }
    };
    let discard = {
        let (draft, wrong, simulated) = (draft.setter(), wrong.setter(), simulated.setter());
        let (key, in_force) = (storage_key.clone(), in_force.clone());
        move |_: MouseEvent| {
            storage::write(&key, None);
            let text = policy_text::text(&in_force.document);
            draft.set(Kept { based_on: in_force.version, text });
            wrong.set(Vec::new());
            simulated.set(None);
        }
    };
    let rebase = {
        let (draft, key, version) = (draft.clone(), storage_key.clone(), in_force.version);
        move |_: MouseEvent| {
            let kept = Kept { based_on: version, ..(*draft).clone() };
            kept.write(&key);
            draft.set(kept);
        }
    };
    let done = {
        let (key, on_published) = (storage_key.clone(), props.on_published.clone());
        Callback::from(move |()| {
            storage::write(&key, None);
            on_published.emit(());
        })
    };
    let close = {
        let publishing = publishing.setter();
        Callback::from(move |()| publishing.set(false))
    };
    let is_behind = draft.based_on != in_force.version;
    let theirs = policy_text::text(&in_force.document);
    let changed = draft.text != theirs;
    html! {
        <div class="stack" data-testid="policy-draft" data-based-on={draft.based_on.to_string()}>
            if is_behind {
                <Callout tone={Tone::Waiting} glyph={Glyph::Warning} testid="policy-moved">
                    <p><b>{ format!("Version {} is in force by now", in_force.version) }</b>
                        { format!(", by {}. Your draft was begun on version {} and is still here, below.", author(in_force), draft.based_on) }</p>
                    if let Some(note) = &in_force.note {
                        <p><q>{ note }</q></p>
                    }
                    <p>{ "From what is in force now to your draft:" }</p>
                    <Lines lines={diff::texts(&theirs, &draft.text)} />
                    <div class="actions">
                        <button type="button" class="button" onclick={rebase} data-testid="policy-rebase">
                            { format!("My draft is to follow version {}", in_force.version) }
                        </button>
                    </div>
                </Callout>
            }
            <section class="panel flush" aria-labelledby="draft-title">
                <div class="panel-head">
                    <h2 id="draft-title">{ format!("Draft of version {}", in_force.version.saturating_add(1)) }</h2>
                    <div class="button-list">
                        <Link to={Route::Policies} class="button quiet">{ "Back to what is in force" }</Link>
                        if changed {
                            <button type="button" class="button quiet" onclick={discard} data-testid="policy-discard">{ "Throw away" }</button>
                        }
                    </div>
                </div>
                { editor(&draft.text, &wrong, &area, oninput) }
                <div class="policy-tools">
                    { problems(&wrong, &area, &draft.text) }
                    if let (Some(error), true) = (simulate.error(), wrong.is_empty()) {
                        <ProblemNote error={error.clone()} />
                    }
                    <div class="actions">
                        <button type="button" class="button primary" disabled={simulate.busy()} data-testid="policy-simulate"
                            onclick={let ask = ask.clone(); move |_| ask.emit(false)}>
                            { if simulate.busy() { "Looking at the past…" } else { "Simulate" } }
                        </button>
                        if props.may_publish {
                            <button type="button" class="button" onclick={publish} data-testid="policy-publish"
                                disabled={simulate.busy() || is_behind || !changed}>{ "Publish …" }</button>
                        }
                    </div>
                    <p class="faint small">
                        { "Simulating changes nothing: the draft is held against the newest submission of each change. " }
                        { if props.may_publish { "What you type is kept in this browser." } else { "Publishing needs the admin role. What you type is kept in this browser." } }
                    </p>
                </div>
            </section>
            if let Some(simulated) = &*simulated {
                { outcome(&simulated.view, fresh.is_none()) }
            }
            if let (true, Some(simulated)) = (*publishing, &*simulated) {
                <Publish {note} view={Rc::clone(&simulated.view)} text={draft.text.clone()} based_on={draft.based_on}
                    on_close={close} on_done={done} on_moved={props.on_moved.clone()} />
            }
        </div>
    }
}

/// What the server found wrong, with the lines.
fn faults(error: &ApiError, text: &str) -> Vec<Wrong> {
    let ApiError::Refused(problem) = error else { return Vec::new() };
    if problem.status != 422 && problem.status != 400 {
        return Vec::new();
    }
    let named: Vec<Wrong> = problem
        .errors
        .iter()
        .filter_map(|error| {
            let pointer = error.pointer.strip_prefix("/document")?;
            let line = policy_text::line_of(text, pointer);
            Some(Wrong { line, reason: error.reason.clone() })
        })
        .collect();
    if named.iter().any(|wrong| wrong.line.is_some_and(|line| line > 1)) {
        return named;
    }
    // A text that is no policy at all is refused as a whole.
    policy_text::shape(text).map_or(named, |wrong| vec![wrong])
}

fn editor(text: &str, wrong: &[Wrong], area: &NodeRef, oninput: Callback<InputEvent>) -> Html {
    // An empty line is left below the last one to write in.
    let count = text.split('\n').count() + 1;
    html! {
        <div class="policy-editor">
            <div class="policy-gutter" aria-hidden="true">
                { for (1..=count).map(|number| {
                    let is_wrong = wrong.iter().any(|wrong| wrong.line == Some(number));
                    html! { <span class={classes!(is_wrong.then_some("wrong"))}>{ if is_wrong { "!" } else { "" } }{ number }</span> }
                }) }
            </div>
            <textarea ref={area.clone()} class="policy-text" value={text.to_owned()} rows={count.to_string()} spellcheck="false"
                wrap="off" aria-label="Text of the draft" aria-invalid={(!wrong.is_empty()).then_some("true")}
                aria-describedby={(!wrong.is_empty()).then_some("policy-wrong")} {oninput} data-testid="policy-text" />
        </div>
    }
}

/// What is wrong, each with a way to its line.
fn problems(wrong: &[Wrong], area: &NodeRef, text: &str) -> Html {
    if wrong.is_empty() {
        return html! {};
    }
    let rows = wrong.iter().map(|wrong| {
        let reason = words::sentence(&wrong.reason);
        let Some(line) = wrong.line else { return html! { <li>{ reason }</li> } };
        let (area, (start, end)) = (area.clone(), span_of(text, line));
        let go = move |_: MouseEvent| {
            if let Some(area) = area.cast::<HtmlTextAreaElement>() {
                // Both fail only for what is not on the page.
                let _ = area.focus();
                let _ = area.set_selection_range(start, end);
            }
        };
        html! {
            <li data-testid="policy-fault" data-line={line.to_string()}>
                <button type="button" class="button small" onclick={go}>{ format!("Line {line}") }</button>
                <span>{ reason }</span>
            </li>
        }
    });
    html! {
        <div class="callout tone-failed" role="alert" id="policy-wrong" data-testid="policy-wrong">
            <div class="callout-body"><ul class="policy-faults">{ for rows }</ul></div>
        </div>
    }
}

/// Where a line begins and ends, in what a text area counts: UTF-16 code units.
fn span_of(text: &str, line: usize) -> (u32, u32) {
    let units = |text: &str| u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX);
    let lines: Vec<&str> = text.split('\n').collect();
    let before = lines.iter().take(line.saturating_sub(1));
    let start = before.map(|line| units(line) + 1).fold(0, u32::saturating_add);
    let length = lines.get(line.saturating_sub(1)).map_or(0, |line| units(line));
    (start, start.saturating_add(length))
}

const fn shift(shift: Shift) -> words::Label {
    let (text, tone, glyph) = match shift {
        Shift::Refused => ("Refused", Tone::Failed, Glyph::Blocked),
        Shift::Stricter => ("Asks for more", Tone::Active, Glyph::Lock),
        Shift::Looser => ("Asks for less", Tone::Waiting, Glyph::Warning),
        Shift::Mixed => ("More and less", Tone::Waiting, Glyph::Question),
    };
    words::Label { text, tone, glyph }
}

fn outcome(view: &SimulationView, is_old: bool) -> Html {
    html! {
        <section class="panel flush" aria-labelledby="outcome-title" data-testid="policy-outcome" data-old={is_old.to_string()}>
            <div class="panel-head">
                <h2 id="outcome-title">{ "With this draft" }</h2>
                if is_old {
                    <span class="tag" data-testid="policy-outcome-old">{ "of an earlier text: simulate again" }</span>
                }
            </div>
            <div class="policy-about">
                <p data-testid="policy-sentence">{ &view.simulation.sentence }</p>
                if view.cut {
                    <p class="faint small">{ "There are older changes, which were not compared." }</p>
                }
                { found(&view.analysis) }
                <details>
                    <summary>{ format!("What {} mean", format::count(view.text.len() as u64, "rule", "rules")) }</summary>
                    <ol class="policy-sentences">{ for view.text.iter().map(|sentence| html! { <li>{ sentence }</li> }) }</ol>
                </details>
            </div>
            if !view.simulation.changed.is_empty() {
                <div class="table-frame inner">
                    <table class="table" data-testid="policy-changed">
                        <caption class="visually-hidden">{ "Changes that it would have decided otherwise, newest first" }</caption>
                        <thead><tr>
                            <th scope="col">{ "Change" }</th><th scope="col">{ "Is now" }</th><th scope="col">{ "Would be" }</th>
                            <th scope="col">{ "Rule then, and rule of the draft" }</th>
                        </tr></thead>
                        <tbody>{ for view.simulation.changed.iter().map(changed) }</tbody>
                    </table>
                </div>
            }
        </section>
    }
}

fn changed(change: &SimulatedChange) -> Html {
    html! {
        <tr key={change.id.to_string()} data-testid="policy-changed-row">
            <td class="nowrap">
                <Link to={Route::Change { id: change.id }} row=true>{ format!("#{}", change.number) }</Link>
                <p class="faint small">{ words::change_type(&change.change_type) }</p>
            </td>
            <td><StateBadge state={change.state} settled=false /></td>
            <td><Badge label={shift(change.shift)} /></td>
            <td class="small"><p class="faint">{ &change.was }</p><p>{ &change.would_be }</p></td>
        </tr>
    }
}

#[derive(Properties, PartialEq)]
struct PublishProps {
    /// Outlives the dialog: it may have to be opened again.
    note: UseStateHandle<String>,
    view: Rc<SimulationView>,
    text: String,
    based_on: u32,
    on_close: Callback<()>,
    on_done: Callback<()>,
    on_moved: Callback<()>,
}

#[component]
fn Publish(props: &PublishProps) -> Html {
    let note = props.note.clone();
    let typed = use_state_eq(String::new);
    let publish = use_mutation();
    let weakened = !props.view.analysis.weakened.is_empty();
    let ready = !note.trim().is_empty() && (!weakened || typed.trim() == WEAKER);
    let onsubmit = {
        let (publish, text, based_on) = (publish.clone(), props.text.clone(), props.based_on);
        let (note, on_done, on_moved) =
            ((*note).clone(), props.on_done.clone(), props.on_moved.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            // It was simulated, so it is a policy.
            let Ok(document) = serde_json::from_str::<PolicyDocument>(&text) else { return };
            let request = PublishPolicyRequest { document, note: note.clone(), based_on };
            let (on_done, on_moved) = (on_done.clone(), on_moved.clone());
            let call = async move {
                let answer = api::post::<PolicyView>("/policies", &request).await;
                if answer.as_ref().is_err_and(|error| error.code() == Some("policy.moved")) {
                    on_moved.emit(());
                }
                answer
            };
            publish.start(call, move |_| on_done.emit(()));
        })
    };
    let moved = publish.error().is_some_and(|error| error.code() == Some("policy.moved"));
    html! {
        <Dialog title={format!("Publish version {}", props.based_on.saturating_add(1))} on_close={props.on_close.clone()}
            testid="policy-publish-form">
            <form {onsubmit} class="form">
                <p>{ &props.view.simulation.sentence }</p>
                if weakened {
                    <Callout tone={Tone::Waiting} glyph={Glyph::Warning} testid="policy-weaker">
                        <p><b>{ "It asks for less than what is in force:" }</b></p>
                        <ul class="plain">{ for props.view.analysis.weakened.iter().map(|it| html! { <li>{ &it.sentence }</li> }) }</ul>
                    </Callout>
                }
                <TextInput id="policy-note" label="Why" value={(*note).clone()} multiline=true autofocus=true
                    help="Everybody who looks at the versions reads this." testid="policy-note"
                    on_change={let note = note.setter(); move |text| note.set(text)} />
                if weakened {
                    <TextInput id="policy-typed" label={format!("Type “{WEAKER}” to go on")} value={(*typed).clone()}
                        autocomplete="off" testid="policy-typed"
                        on_change={let typed = typed.setter(); move |text| typed.set(text)} />
                }
                if let Some(error) = publish.error() {
                    <ProblemNote error={error.clone()} />
                    if moved {
                        <p class="field-help">{ "Close this: their text and yours are compared there, and yours is kept." }</p>
                    }
                }
                <div class="actions">
                    <button class={classes!("button", if weakened { "danger solid" } else { "primary" })}
                        disabled={publish.busy() || !ready} data-testid="policy-publish-save">{ "Publish it" }</button>
                    <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_selected_in_what_text_areas_count() {
        let text = "{\n  \"é𝄞\": 1,\n\n}";
        assert_eq!(span_of(text, 1), (0, 1));
        assert_eq!(span_of(text, 2), (2, 13));
        assert_eq!(span_of(text, 3), (14, 14));
        assert_eq!(span_of(text, 4), (15, 16));
        assert_eq!(span_of(text, 9).1, span_of(text, 9).0);
    }
}
