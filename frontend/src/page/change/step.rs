//! The steps: planned, running, verified; with what the target was before and after.

use std::rc::Rc;

use nexplane_core::api::{ChangeView, RunView, StepProgress, StepState, StepView};
use nexplane_core::plan::{Field, Step};
use serde_json::Value;
use yew::prelude::*;

use crate::component::badge::{Badge, Callout, StepBadge};
use crate::component::diff::Lines;
use crate::component::icon::{Glyph, Icon};
use crate::component::time::Time;
use crate::live::use_progress;
use crate::words::{self, Tone};
use crate::{diff, format};

#[derive(Properties, PartialEq)]
pub struct StepsProps {
    pub change: Rc<ChangeView>,
}

/// One step as planned and, once there is a run, as it went.
struct Row<'a> {
    no: u32,
    planned: Option<&'a Step>,
    ran: Option<&'a StepView>,
}

fn rows<'a>(planned: &'a [Step], ran: &'a [StepView]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = planned
        .iter()
        .map(|step| Row {
            no: step.no,
            planned: Some(step),
            ran: ran.iter().find(|other| other.no == step.no),
        })
        .collect();
    // A list without a plan still has its run.
    rows.extend(
        ran.iter()
            .filter(|step| !planned.iter().any(|other| other.no == step.no))
            .map(|step| Row { no: step.no, planned: None, ran: Some(step) }),
    );
    rows
}

/// Steps without their frame, such as those of one target of a rollout.
pub fn list(planned: &[Step], ran: &[StepView]) -> Html {
    let rows = rows(planned, ran);
    html! { <ol class="steps" data-testid="steps">{ for rows.iter().map(|row| step(row, None)) }</ol> }
}

#[component]
pub fn Steps(props: &StepsProps) -> Html {
    let change = &props.change;
    let planned = change.plan.as_ref().map_or(&[][..], |plan| &plan.steps);
    let ran = change.run.as_ref().map_or(&[][..], |run| &run.steps);
    let rows = rows(planned, ran);
    let under_way = use_progress(change.id);
    let verified = ran.iter().filter(|step| step.state == StepState::Verified).count();
    html! {
        <section class="panel order-5" aria-labelledby="steps-title">
            <div class="panel-head">
                <h2 id="steps-title">{ "Steps" }</h2>
                if let Some(run) = &change.run {
                    { progress(run, verified, rows.len()) }
                }
            </div>
            if let Some(reason) = change.run.as_ref().and_then(|run| run.reason.clone()) {
                <Callout tone={Tone::Failed} glyph={Glyph::Warning} testid="run-reason">
                    <p>{ words::sentence(&reason) }</p>
                </Callout>
            }
            <ol class="steps" data-testid="steps">{ for rows.iter().map(|row| step(row, under_way.get(&row.no))) }</ol>
        </section>
    }
}

fn progress(run: &RunView, verified: usize, all: usize) -> Html {
    html! {
        <p class="faint small" data-testid="run" data-state={run.state.clone()}>
            { format!("{verified} of {all} verified · started ") }<Time at={run.started_at} exact=true />
            if let Some(finished) = run.finished_at {
                { format!(" · took {}", format::duration(run.started_at, finished)) }
            }
        </p>
    }
}

/// How far the effect is, while it lasts.
fn effect(progress: &StepProgress) -> Html {
    let StepProgress { done, most, unit, .. } = progress;
    let (done_text, most_text) = (format::number(*done), most.map(format::number));
    let text = match most_text {
        Some(most) => format!("{done_text} of {most} {unit}"),
        None => format!("{done_text} {unit}"),
    };
    html! {
        <p class="step-progress small" data-testid="step-progress">
            <progress max={most.map(|most| most.to_string())} value={most.map(|_| done.to_string())}
                aria-label={text.clone()} />
            { text }
        </p>
    }
}

fn step(row: &Row<'_>, progress: Option<&StepProgress>) -> Html {
    let state = row.ran.map_or(StepState::Planned, |step| step.state);
    let target = row
        .planned
        .map(|step| step.target.name.clone())
        .or_else(|| row.ran.map(|step| step.target.clone()))
        .unwrap_or_default();
    let action = row
        .planned
        .map(|step| step.action.clone())
        .or_else(|| row.ran.map(|step| step.action.clone()))
        .unwrap_or_default();
    let summary = row.planned.map_or_else(
        || format!("{} on {target}", words::change_type(&action)),
        |step| step.summary.clone(),
    );
    html! {
        <li class={classes!("step", format!("step-{}", state.as_str()))} data-testid="step"
            data-state={state.as_str()} key={row.no}>
            <span class="step-no">{ row.no + 1 }</span>
            <div class="step-main">
                <div class="step-head">
                    <p class="step-summary">{ words::sentence(&summary) }</p>
                    <StepBadge {state} />
                </div>
                <p class="faint small">
                    <code>{ target }</code>{ " · " }<code>{ action }</code>
                    if let Some(ran) = row.ran {
                        { took(ran) }
                    }
                </p>
                if let Some(progress) = progress.filter(|_| state == StepState::Intended) {
                    { effect(progress) }
                }
                if let Some(reason) = row.ran.and_then(|ran| ran.reason.clone()) {
                    <p class="step-reason"><Icon glyph={Glyph::Warning} />{ words::sentence(&reason) }</p>
                }
                { for row.ran.iter().flat_map(|ran| &ran.late).map(|said| html! {
                    <p class="step-reason" data-testid="late"><Icon glyph={Glyph::Warning} />{ said.clone() }</p>
                }) }
                if let Some(ran) = row.ran {
                    { observed(ran) }
                }
                if let Some(planned) = row.planned {
                    { meaning(planned) }
                }
            </div>
        </li>
    }
}

fn took(step: &StepView) -> Html {
    let attempts =
        if step.attempt > 1 { format!(" · attempt {}", step.attempt) } else { String::new() };
    match (step.started_at, step.finished_at) {
        (Some(start), Some(end)) => {
            html! { <span>{ format!(" · {}{attempts}", format::duration(start, end)) }</span> }
        }
        (Some(start), None) => {
            html! { <span>{ " · since " }<Time at={start} exact=true />{ attempts }</span> }
        }
        (None, _) => html! {},
    }
}

/// Effect class, reversibility and way back, in words.
fn meaning(step: &Step) -> Html {
    let (class, explanation) = words::effect_class(step.effect_class);
    let (way_back, _) = words::reversibility(&step.reversibility);
    html! {
        <details class="step-meaning">
            <summary><span class="tag" title={explanation}>{ class }</span><Badge label={way_back} /></summary>
            <dl class="facts">
                <div><dt>{ "Effect" }</dt><dd>{ explanation }</dd></div>
                <div><dt>{ "Way back" }</dt><dd data-testid="step-rollback">{ words::sentence(&step.rollback) }</dd></div>
            </dl>
        </details>
    }
}

/// What the target was, is, and (on a blocked rollback) has become.
fn observed(step: &StepView) -> Html {
    if step.before.is_empty() && step.after.is_empty() && step.now.is_none() {
        return html! {};
    }
    let names = names(step);
    if let Some(now) = &step.now {
        return three_ways(step, now, &names);
    }
    let fields = names.iter().filter_map(|name| {
        let (before, after) = (find(&step.before, name), find(&step.after, name));
        let lines = if step.after.is_empty() {
            diff::values(&before, &before)
        } else {
            diff::values(&before, &after)
        };
        (!lines.is_empty()).then(|| {
            html! {
                <div class="diff-field">
                    <div class="diff-label" title={name.clone()}>{ format::humanise(name) }</div>
                    <Lines {lines} />
                </div>
            }
        })
    });
    html! {
        <details class="observed" data-testid="step-observed">
            <summary>
                { if step.after.is_empty() { "State captured before" } else { "Read from the target: before and after" } }
            </summary>
            <div class="diff">{ for fields }</div>
        </details>
    }
}

fn three_ways(step: &StepView, now: &[Field], names: &[String]) -> Html {
    let cell = |fields: &[Field], name: &str| format::json(&find(fields, name));
    html! {
        <div class="table-frame inner">
            <table class="table" data-testid="step-three-ways">
                <caption>{ "Somebody moved the target since. Nothing was undone here." }</caption>
                <thead><tr>
                    <th scope="col">{ "Field" }</th><th scope="col">{ "Before" }</th>
                    <th scope="col">{ "After our change" }</th><th scope="col">{ "Now" }</th>
                </tr></thead>
                <tbody>
                    { for names.iter().map(|name| {
                        let moved = find(&step.after, name) != find(now, name);
                        html! {
                            <tr class={classes!(moved.then_some("moved"))}>
                                <th scope="row">{ format::humanise(name) }</th>
                                <td><code>{ cell(&step.before, name) }</code></td>
                                <td><code>{ cell(&step.after, name) }</code></td>
                                <td><code>{ cell(now, name) }</code>
                                    if moved { <span class="tag">{ "moved" }</span> }
                                </td>
                            </tr>
                        }
                    }) }
                </tbody>
            </table>
        </div>
    }
}

fn names(step: &StepView) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let now = step.now.iter().flatten();
    for field in step.before.iter().chain(&step.after).chain(now) {
        if !names.contains(&field.name) {
            names.push(field.name.clone());
        }
    }
    names
}

fn find(fields: &[Field], name: &str) -> Value {
    fields.iter().find(|field| field.name == name).map_or(Value::Null, |field| field.value.clone())
}
