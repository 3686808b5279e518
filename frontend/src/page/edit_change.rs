//! Editing a change. What was approved before is void afterwards, and stays in the history.
//!
//! When somebody else saved it meanwhile, both versions are shown, and nothing typed is lost.

use std::collections::BTreeMap;
use std::rc::Rc;

use nexplane_core::api::{ChangeState, ChangeView, ConnectionView, EditRequest, Page};
use nexplane_core::catalog::Catalog;
use nexplane_core::id::ChangeId;
use yew::prelude::*;
use yew_router::prelude::*;

use super::change::PlanNow;
use super::draft_form::{DraftForm, Drafted, Known};
use super::new_change::{ActionFacts, fitting};
use crate::api;
use crate::component::asset_picker::Chosen;
use crate::component::badge::Callout;
use crate::component::change_table::name;
use crate::component::choice::{Choices, Row};
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::format;
use crate::live::use_live;
use crate::merge::{Side, Three};
use crate::resource::{use_mutation, use_resource};
use crate::route::Route;
use crate::words::Tone;

#[derive(Properties, PartialEq)]
pub struct EditChangeProps {
    pub id: ChangeId,
}

#[component]
pub fn EditChange(props: &EditChangeProps) -> Html {
    let path = format!("/change-requests/{}", props.id);
    let change = use_resource::<ChangeView>(Some(path.clone()));
    let catalog = use_resource::<Catalog>(Some("/catalog".to_owned()));
    let connections =
        use_resource::<Page<ConnectionView>>(Some("/connections?limit=200".to_owned()));
    let save = use_mutation();
    let navigator = use_navigator().expect("every page is inside the router");
    // What the form began with, and what was typed when it was sent last.
    let base = use_state_eq(|| None::<Rc<ChangeView>>);
    let typed = use_state_eq(|| None::<Drafted>);
    let chosen = use_state_eq(BTreeMap::<&'static str, Side>::new);
    {
        let base = base.clone();
        use_effect_with(change.value.clone(), move |read| {
            if base.is_none() {
                base.set(read.clone());
            }
        });
    }
    {
        let change = change.clone();
        use_live(
            vec![format!("change:{}", props.id)],
            Callback::from(move |event: crate::live::Event| change.reload_at(event.position())),
        );
    }
    let stale = save.error().and_then(api::ApiError::code) == Some("conflict.version");
    {
        let change = change.clone();
        use_effect_with(save.error().cloned(), move |_| {
            if stale {
                change.reload();
            }
        });
    }

    let (Some(change), Some(catalog), Some(connections)) =
        (change.value.clone(), catalog.value.clone(), connections.value.clone())
    else {
        return match change.error.or(catalog.error).or(connections.error) {
            Some(error) => html! { <ProblemNote {error} /> },
            None => html! { <Skeleton lines={12} /> },
        };
    };
    let Some(action) = catalog.action(&change.change_type) else {
        return html! {
            <Callout tone={Tone::Failed} glyph={Glyph::Warning}>
                <p>{ format!("This installation no longer knows {}.", change.change_type) }</p>
            </Callout>
        };
    };
    let base = (*base).clone().unwrap_or_else(|| Rc::clone(&change));
    let moved = base.version != change.version;
    let rows = |drafted: &Drafted| conflicts(&base, drafted, &change, &chosen);
    let open: Vec<Row> = typed.as_ref().filter(|_| moved).map(rows).unwrap_or_default();
    let send = {
        let (save, theirs, base) = (save.clone(), Rc::clone(&change), Rc::clone(&base));
        let chosen = chosen.clone();
        Callback::from(move |drafted: Drafted| {
            let request = request(&base, &drafted, &theirs, &chosen);
            let (navigator, path, version) = (navigator.clone(), path.clone(), theirs.version);
            save.start(
                async move { api::patch::<ChangeView>(&path, &request, Some(version)).await },
                move |change| {
                    navigator.push_with_state(&Route::Change { id: change.id }, PlanNow);
                },
            );
        })
    };
    let on_submit = {
        let (typed, send) = (typed.clone(), send.clone());
        let (base, theirs, chosen) = (Rc::clone(&base), Rc::clone(&change), chosen.clone());
        Callback::from(move |drafted: Drafted| {
            typed.set(Some(drafted.clone()));
            let open = conflicts(&base, &drafted, &theirs, &chosen);
            if open.iter().all(|row| row.chosen.is_some()) {
                send.emit(drafted);
            }
        })
    };
    let on_choose = {
        let chosen = chosen.clone();
        Callback::from(move |(field, side)| {
            let mut next = (*chosen).clone();
            next.insert(field, side);
            chosen.set(next);
        })
    };
    let known = Known {
        connection: Some(change.connection_id),
        targets: change
            .targets
            .iter()
            .map(|id| Chosen { id: *id, name: name(&change, id.0) })
            .collect(),
        parameters: change.parameters.clone(),
        title: change.title.clone(),
        reason: change.reason.clone(),
        ticket: change.ticket.clone().unwrap_or_default(),
    };
    html! {
        <>
            <Head title={format!("Edit #{}", change.number)} lead={change.title.clone()} />
            if change.state != ChangeState::Draft {
                <Callout tone={Tone::Waiting} glyph={Glyph::Warning}>
                    <p>{ "Saving makes a new plan: approvals given so far no longer count, and whoever \
                          edits a change cannot approve it." }</p>
                </Callout>
            }
            if !open.is_empty() {
                <Choices rows={open.clone()} {on_choose}>
                    <div class="actions">
                        <button type="button" class="button primary" data-testid="conflict-save"
                            disabled={save.busy() || open.iter().any(|row| row.chosen.is_none())}
                            onclick={let typed = typed.clone(); move |_| {
                                if let Some(drafted) = (*typed).clone() { send.emit(drafted); }
                            }}>
                            { "Save what is chosen" }
                        </button>
                    </div>
                </Choices>
            } else if moved {
                <Callout tone={Tone::Waiting} glyph={Glyph::Warning} testid="edit-moved">
                    <p role="status"><b>{ "It has changed since you began. " }</b>
                    { "What you typed is still here. Saving changes only what you changed; where somebody else changed \
                       the same, you are asked." }</p>
                </Callout>
            }
            <div class="split">
                <section class="panel">
                    <DraftForm action={action.clone()} connections={fitting(&connections, action)}
                        {known} editing=true busy={save.busy()}
                        error={save.error().filter(|_| !stale).cloned()} {on_submit} />
                </section>
                <ActionFacts action={action.clone()} />
            </div>
        </>
    }
}

/// What a form has of a change, as texts to compare and to show.
type Texts = [(&'static str, &'static str, String); 5];

fn texts(
    title: &str,
    reason: &str,
    ticket: &str,
    targets: String,
    parameters: &serde_json::Value,
) -> Texts {
    [
        ("title", "Title", title.to_owned()),
        ("reason", "Reason", reason.to_owned()),
        ("ticket", "Ticket", ticket.to_owned()),
        ("targets", "Targets", targets),
        ("parameters", "Parameters", format::pretty(parameters)),
    ]
}

fn texts_of(change: &ChangeView) -> Texts {
    let targets: Vec<String> = change.targets.iter().map(|id| name(change, id.0)).collect();
    let ticket = change.ticket.as_deref().unwrap_or_default();
    texts(&change.title, &change.reason, ticket, targets.join(", "), &change.parameters)
}

fn threes(
    base: &ChangeView,
    mine: &Drafted,
    theirs: &ChangeView,
) -> Vec<(&'static str, &'static str, Three<String>)> {
    let targets: Vec<&str> = mine.targets.iter().map(|target| target.name.as_str()).collect();
    // Without a ticket, the one that there is stays.
    let ticket = mine.ticket.as_deref().or(base.ticket.as_deref()).unwrap_or_default();
    let mine = texts(&mine.title, &mine.reason, ticket, targets.join(", "), &mine.parameters);
    let ends = texts_of(base).into_iter().zip(texts_of(theirs));
    ends.zip(mine)
        .map(|(((name, label, base), (.., theirs)), (.., mine))| {
            (name, label, Three { base, mine, theirs })
        })
        .collect()
}

fn conflicts(
    base: &ChangeView,
    mine: &Drafted,
    theirs: &ChangeView,
    chosen: &BTreeMap<&'static str, Side>,
) -> Vec<Row> {
    threes(base, mine, theirs)
        .into_iter()
        .filter(|(.., three)| three.conflicts())
        .map(|(name, label, Three { base, mine, theirs })| Row {
            name,
            label,
            base,
            mine,
            theirs,
            chosen: chosen.get(name).copied(),
        })
        .collect()
}

/// Only what was changed here, and was not left to somebody else: what is absent stays.
fn request(
    base: &ChangeView,
    mine: &Drafted,
    theirs: &ChangeView,
    chosen: &BTreeMap<&'static str, Side>,
) -> EditRequest {
    let wanted: BTreeMap<&str, bool> = threes(base, mine, theirs)
        .into_iter()
        .map(|(name, _, mut three)| {
            let theirs = three.conflicts() && chosen.get(name) == Some(&Side::Theirs);
            three.follow();
            (name, three.to_save().is_some() && !theirs)
        })
        .collect();
    let wants = |name: &str| wanted.get(name).copied().unwrap_or_default();
    // Of a rollout the form has only the first targets.
    let targets = (wants("targets") && base.rollout.is_none())
        .then(|| mine.targets.iter().map(|target| target.id.to_string()).collect());
    EditRequest {
        title: wants("title").then(|| mine.title.clone()),
        reason: wants("reason").then(|| mine.reason.clone()),
        ticket: mine.ticket.clone().filter(|_| wants("ticket")),
        targets,
        parameters: wants("parameters").then(|| mine.parameters.clone()),
        window: mine.window.clone(),
        rollout: None,
        auto_rollback: None,
    }
}
