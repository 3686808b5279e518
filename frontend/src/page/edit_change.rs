//! Editing a change. What was approved before is void afterwards, and stays in the history.

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
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
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
    let on_submit = {
        let (save, version) = (save.clone(), change.version);
        let is_rollout = change.rollout.is_some();
        Callback::from(move |drafted: Drafted| {
            let request = EditRequest {
                title: Some(drafted.title),
                reason: Some(drafted.reason),
                ticket: drafted.ticket,
                // Of a rollout the form has only the first ones.
                targets: (!is_rollout)
                    .then(|| drafted.targets.iter().map(|target| target.id.to_string()).collect()),
                parameters: Some(drafted.parameters),
                window: drafted.window,
                rollout: None,
                auto_rollback: None,
            };
            let (navigator, path) = (navigator.clone(), path.clone());
            save.start(
                async move { api::patch::<ChangeView>(&path, &request, Some(version)).await },
                move |change| {
                    navigator.push_with_state(&Route::Change { id: change.id }, PlanNow);
                },
            );
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
            <div class="split">
                <section class="panel">
                    <DraftForm action={action.clone()} connections={fitting(&connections, action)}
                        {known} editing=true busy={save.busy()} error={save.error().cloned()} {on_submit} />
                </section>
                <ActionFacts action={action.clone()} />
            </div>
        </>
    }
}
