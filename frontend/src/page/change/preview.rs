//! What undoing a change would do, field by field: what was there, what the change made of it, what is there now as far
//! as anybody has looked, and what undoing sets. The server says all of it.

use std::rc::Rc;

use nexplane_core::api::{ChangeState, ChangeView, UndoFieldView, UndoStepView, UndoView};
use serde_json::Value;
use yew::prelude::*;

use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::format;
use crate::resource::use_resource;
use crate::route::Route;

/// Whether there is something to undo, or it is being undone.
pub fn is_due(change: &ChangeView) -> bool {
    let state = match change.state {
        ChangeState::Complete
        | ChangeState::Failed
        | ChangeState::OutcomeUnknown
        | ChangeState::RollingBack
        | ChangeState::RollbackPartial
        | ChangeState::RollbackBlocked => true,
        ChangeState::Draft
        | ChangeState::Submitted
        | ChangeState::Approved
        | ChangeState::Scheduled
        | ChangeState::Executing
        | ChangeState::RolledBack
        | ChangeState::Rejected
        | ChangeState::Cancelled
        | ChangeState::Expired => false,
    };
    let can_be = change.plan.as_ref().is_some_and(|plan| plan.reversible);
    state
        && can_be
        && change.rollback_of.is_none()
        && change.rollout.is_none()
        && change.run.is_some()
}

#[derive(Properties, PartialEq)]
pub struct PreviewProps {
    pub change: Rc<ChangeView>,
    /// Asks for the rollback, which reads the targets.
    pub on_ask: Callback<()>,
}

#[component]
pub fn Preview(props: &PreviewProps) -> Html {
    let change = &props.change;
    let undo = use_resource::<UndoView>(Some(format!("/change-requests/{}/undo", change.id)));
    {
        let (undo, first) = (undo.clone(), use_mut_ref(|| change.position));
        use_effect_with(change.position, move |position| {
            if *first.borrow() != *position {
                undo.reload_at(Some(*position));
            }
        });
    }
    let body = match (undo.value.clone(), undo.error.clone()) {
        (Some(view), _) => known(props, &view),
        (None, Some(error)) => {
            html! { <ProblemNote {error} retry={let undo = undo.clone(); move |()| undo.reload()} /> }
        }
        (None, None) => html! { <Skeleton lines={4} /> },
    };
    html! {
        <section class="panel order-5" aria-labelledby="undo-title" data-testid="undo-preview">
            <h2 id="undo-title">{ "What undoing it would do" }</h2>
            { body }
        </section>
    }
}

fn known(props: &PreviewProps, undo: &UndoView) -> Html {
    let may = props.change.allowed.iter().any(|one| one.action == "rollback" && one.ok);
    html! {
        <>
            <div class="undo-says">
                <p data-testid="undo-says" data-read={undo.read_at.is_some().to_string()}>
                    { &undo.says }
                    if let Some(at) = undo.read_at {
                        { " Read " }<Time {at} />{ " (" }<Time {at} relative=true />{ ")." }
                    }
                </p>
                if let Some(id) = undo.rollback {
                    <Link to={Route::Change { id }} class="button small" testid="undo-rollback">
                        { "Its rollback" }
                    </Link>
                } else if may {
                    <button type="button" class="button small" data-testid="undo-ask"
                        onclick={props.on_ask.reform(|_| ())}>
                        { "Plan the undo…" }
                    </button>
                }
            </div>
            { for undo.steps.iter().map(step) }
        </>
    }
}

/// What the change left as it was, and nobody moved since, needs no row.
fn is_touched(field: &UndoFieldView) -> bool {
    field.moved || field.redacted || field.made.as_ref() != Some(&field.before)
}

fn step(step: &UndoStepView) -> Html {
    let (touched, same): (Vec<_>, Vec<_>) = step.fields.iter().partition(|field| is_touched(field));
    let same: Vec<String> =
        same.into_iter().map(|field| format::humanise(&field.name).to_lowercase()).collect();
    html! {
        <section class="undo-step" data-testid="undo-step" key={step.no}>
            <h3><code>{ &step.target }</code></h3>
            <p class="faint small">{ &step.says }</p>
            if touched.is_empty() {
                <p class="small">{ "No field of it became another." }</p>
            } else {
                <div class="table-frame inner">
                    <table class="table undo">
                        <caption class="visually-hidden">
                            { format!("{}: before, after this change, now, and after undoing it", step.target) }
                        </caption>
                        <thead><tr>
                            <th scope="col">{ "Field" }</th>
                            <th scope="col">{ "Before" }</th>
                            <th scope="col">{ "This change made it" }</th>
                            <th scope="col">{ "Now" }</th>
                            <th scope="col">{ "Undoing sets" }</th>
                        </tr></thead>
                        <tbody>{ for touched.iter().map(|one| field(step, one)) }</tbody>
                    </table>
                </div>
            }
            if !same.is_empty() {
                <p class="faint small">{ format!("It did not touch: {}.", same.join(", ")) }</p>
            }
        </section>
    }
}

fn field(step: &UndoStepView, field: &UndoFieldView) -> Html {
    let value = |value: &Value| html! { <code class="wrap-any">{ format::json(value) }</code> };
    let unread = || html! { <span class="faint">{ "Not read back" }</span> };
    let now = match (&field.now, step.verified_at) {
        (Some(now), _) => html! {
            <>{ value(now) }if field.moved { <span class="tag strong">{ "moved since" }</span> }</>
        },
        (None, Some(at)) => html! {
            <span class="faint">{ "Not read since " }<Time {at} /></span>
        },
        (None, None) => html! { <span class="faint">{ "Not known" }</span> },
    };
    let made = field.made.as_ref().map_or_else(unread, value);
    let sets = match &field.sets {
        None => html! { <span class="faint">{ "Nothing" }</span> },
        Some(_) if field.redacted => html! { <span>{ "The secret that was captured" }</span> },
        Some(sets) => value(sets),
    };
    html! {
        <tr class={classes!(field.moved.then_some("undo-moved"))} data-testid="undo-field"
            data-name={field.name.clone()} data-moved={field.moved.to_string()}>
            <th scope="row" class="col-main" title={field.name.clone()}>
                { format::humanise(&field.name) }
                if field.redacted { <span class="tag">{ "secret" }</span> }
            </th>
            <td data-label="Before">{ value(&field.before) }</td>
            <td data-label="This change made it">{ made }</td>
            <td data-label="Now">{ now }</td>
            <td data-label="Undoing sets">{ sets }</td>
        </tr>
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_nobody_touched_has_no_row() {
        let field = |made: Option<Value>, moved: bool, redacted: bool| UndoFieldView {
            name: "mode".to_owned(),
            before: json!("0644"),
            made,
            now: None,
            sets: None,
            moved,
            redacted,
        };
        assert!(!is_touched(&field(Some(json!("0644")), false, false)));
        assert!(is_touched(&field(Some(json!("0600")), false, false)));
        assert!(is_touched(&field(Some(json!("0644")), true, false)), "somebody else moved it");
        assert!(is_touched(&field(Some(json!("0644")), false, true)), "secrets cannot be compared");
        assert!(is_touched(&field(None, false, false)), "nothing was read back");
    }
}
