//! What reaches beyond a change: what depends on its targets, and what undoing it would do.
//!
//! Nothing is read from a target here. What a target is now is known only from a rollback that has read it; when
//! there is none, that is said.

use axum::Json;
use axum::extract::{Path, State};
use nexplane_core::api::{
    ChangeRadius, ChangeView, StepState, StepView, UndoFieldView, UndoStepView, UndoView,
};
use nexplane_core::plan::{Field, Step};
use nexplane_core::time::Timestamp;
use nexplane_projections::{changes, inventory};
use serde_json::Value;

use super::changes::{change_id, load};
use super::guard::Query;
use crate::app::App;
use crate::problem::{ApiError, ApiResult};

/// `GET …/blast-radius`
pub async fn blast_radius(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<super::PageQuery>,
) -> ApiResult<Json<ChangeRadius>> {
    let limit = super::limit(query.limit)?;
    let id = change_id(&app, &id).await?;
    let state = load(&app, id).await?.state;
    let targets = state.subject().map(|subject| subject.draft.targets.as_slice());
    let targets = targets.unwrap_or_default();
    Ok(Json(inventory::change_radius(&app.pool, targets, query.cursor.as_deref(), limit).await?))
}

/// `GET …/undo`
pub async fn preview(State(app): State<App>, Path(id): Path<String>) -> ApiResult<Json<UndoView>> {
    let id = change_id(&app, &id).await?;
    let nothing = || ApiError::not_found("change request");
    let change = changes::find(&app.pool, id).await?.ok_or_else(nothing)?;
    // The newest has looked last, also when it was not carried out.
    let filter = changes::ChangeFilter { rollback_of: Some(id), ..Default::default() };
    let order = changes::ChangeOrder::Number;
    let newest = changes::list(&app.pool, &filter, order, None, Some(1)).await?.items.pop();
    let rollback = match newest {
        Some(rollback) => changes::find(&app.pool, rollback.id).await?,
        None => None,
    };
    Ok(Json(view(&change, rollback.as_ref())))
}

/// What a rollback found of the target of a step.
struct Look<'a> {
    at: Timestamp,
    /// Read as a whole, right before a step back was refused.
    whole: Option<&'a [Field]>,
    /// The step back, whose differences begin with what was there.
    planned: Option<&'a Step>,
}

impl Look<'_> {
    fn now(&self, name: &str, before: &Value) -> Value {
        if let Some(fields) = self.whole {
            return value(fields, name);
        }
        let line = self.planned.and_then(|step| step.diff.iter().find(|line| line.field == name));
        // The plan of a rollback names everything that is another thing than it was before.
        line.map_or_else(|| before.clone(), |line| line.before.clone())
    }
}

fn view(change: &ChangeView, rollback: Option<&ChangeView>) -> UndoView {
    let ran = change.run.as_ref().map_or(&[][..], |run| run.steps.as_slice());
    let looks: Vec<Option<Look<'_>>> = ran.iter().map(|step| look(step.no, rollback?)).collect();
    let read_at = looks.iter().flatten().map(|look| look.at).min();
    let steps = ran.iter().zip(&looks).map(|(step, look)| undone(step, look.as_ref())).collect();
    UndoView {
        says: says(change, rollback, read_at),
        read_at,
        rollback: rollback.map(|rollback| rollback.id),
        steps,
    }
}

/// The last reading of a step's target by the rollback.
fn look(no: u32, rollback: &ChangeView) -> Option<Look<'_>> {
    let plan = rollback.plan.as_ref()?;
    let planned = plan.steps.iter().find(|step| step.undoes.is_some_and(|one| one.step == no))?;
    let ran = rollback.run.iter().flat_map(|run| &run.steps).find(|step| step.no == planned.no);
    // What a step back has read after its effect is what is there now.
    let verified = ran.filter(|step| step.state == StepState::Verified);
    if let Some((step, at)) = verified.and_then(|step| Some((step, step.finished_at?))) {
        return Some(Look { at, whole: Some(&step.after), planned: None });
    }
    let refused = ran.and_then(|step| Some((step.now.as_deref()?, step.finished_at?)));
    Some(match refused {
        Some((now, at)) => Look { at, whole: Some(now), planned: None },
        None => Look { at: plan.computed_at, whole: None, planned: Some(planned) },
    })
}

fn undone(step: &StepView, look: Option<&Look<'_>>) -> UndoStepView {
    let undone = step.state == StepState::Verified;
    let mut names: Vec<&str> = Vec::new();
    for field in step.before.iter().chain(&step.after) {
        if !names.contains(&field.name.as_str()) {
            names.push(&field.name);
        }
    }
    let fields = names.into_iter().map(|name| {
        let redacted =
            step.before.iter().chain(&step.after).any(|field| field.name == name && field.redacted);
        let before = value(&step.before, name);
        let made = undone.then(|| value(&step.after, name));
        let now = look.map(|look| look.now(name, &before));
        UndoFieldView {
            name: name.to_owned(),
            moved: !redacted && made.is_some() && now.is_some() && made != now,
            sets: undone.then(|| before.clone()),
            before,
            made,
            now,
            redacted,
        }
    });
    UndoStepView {
        no: step.no,
        target: step.target.clone(),
        undone,
        verified_at: step.finished_at.filter(|_| undone),
        fields: fields.collect(),
        says: match look.and_then(|look| look.planned) {
            _ if !undone => "Nothing of it was read back, so nothing of it is undone.".to_owned(),
            Some(planned) => sentence(&planned.summary),
            None => format!("Puts {} back to the state captured before the change.", step.target),
        },
    }
}

fn says(change: &ChangeView, rollback: Option<&ChangeView>, read_at: Option<Timestamp>) -> String {
    if change.rollout.is_some() {
        return "Of a rollout, what each target was and became is with the target; its rollback reads all of them."
            .to_owned();
    }
    match (rollback, read_at) {
        (Some(rollback), Some(_)) => {
            format!("What the targets are now is what its rollback #{} read.", rollback.number)
        }
        (Some(rollback), None) => {
            format!("Its rollback #{} has not read the targets yet.", rollback.number)
        }
        (None, _) => "Nobody has read the targets since this change did: what they are now is not known here. \
                      Asking for the rollback reads them, and shows in its plan what undoing changes, before \
                      anybody approves it."
            .to_owned(),
    }
}

fn value(fields: &[Field], name: &str) -> Value {
    fields.iter().find(|field| field.name == name).map_or(Value::Null, |field| field.value.clone())
}

/// A summary of a plan begins like the rest of a sentence.
fn sentence(summary: &str) -> String {
    let mut letters = summary.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
