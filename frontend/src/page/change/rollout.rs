//! A change on many targets: how far it is, live, and each target, those that need somebody first.

use std::rc::Rc;

use nexplane_core::api::{
    ChangeView, RolloutProgress, RolloutTargetView, RolloutView, TargetState,
};
use nexplane_core::rollout::event::{Strategy, Tally};
use yew::prelude::*;

use crate::component::badge::{Badge, Callout};
use crate::component::icon::Glyph;
use crate::component::input::FilterSelect;
use crate::component::problem::ProblemNote;
use crate::live::{Event, use_live};
use crate::query;
use crate::resource::use_list;
use crate::words::{self, Label, Tone};

/// Width of the bar, in its own units.
const WIDTH: u32 = 1000;

#[derive(Properties, PartialEq)]
pub struct RolloutProps {
    pub change: Rc<ChangeView>,
}

#[component]
pub fn Rollout(props: &RolloutProps) -> Html {
    let change = &props.change;
    let told = use_state_eq(|| None::<RolloutProgress>);
    {
        let told = told.setter();
        use_live(
            vec![format!("rollout:{}", change.id)],
            Callback::from(move |event: Event| {
                if let Event::Changed { changed, .. } = event {
                    let progress = changed.get("progress").cloned().unwrap_or_default();
                    told.set(serde_json::from_value(progress).ok());
                }
            }),
        );
    }
    let Some(rollout) = &change.rollout else { return html! {} };
    // A notice is newer than what was read with the change, unless that was read at its end.
    let progress = match (&*told, &rollout.progress) {
        (Some(told), _) if !change.state.is_settled() => Some(told),
        (_, read) => read.as_ref(),
    };
    html! {
        <section class="panel order-5" aria-labelledby="rollout-title" data-testid="rollout"
            data-state={progress.map(|progress| progress.state.clone())}>
            <div class="panel-head">
                <h2 id="rollout-title">{ "Rollout" }</h2>
                <p class="faint small">{ plan_of(rollout) }</p>
            </div>
            if let Some(progress) = progress {
                { standing(progress) }
            }
            if change.plan.is_some() {
                <Targets change={Rc::clone(change)} stage={progress.map(stage)} />
            }
        </section>
    }
}

fn plan_of(rollout: &RolloutView) -> String {
    let Strategy { canary, batch, parallel, pause_s, max_failed, hold_after_canary } =
        rollout.strategy;
    let pause = if pause_s > 0 { format!(", {pause_s} s between batches") } else { String::new() };
    let hold = if hold_after_canary { ", then waits for a person" } else { "" };
    let limit = match max_failed {
        0 => "stops when one does not end well".to_owned(),
        some => format!("stops when more than {some} do not end well"),
    };
    format!(
        "{} targets: a canary of {canary}{hold}, then batches of {batch}, {parallel} at a time{pause}; {limit}",
        rollout.targets
    )
}

/// In the order of the bar.
fn counts(progress: &RolloutProgress) -> [(TargetState, u32); 6] {
    let Tally { complete, failed, unknown, not_started } = progress.tally;
    [
        (TargetState::Complete, complete),
        (TargetState::Executing, progress.executing),
        (TargetState::Failed, failed),
        (TargetState::OutcomeUnknown, unknown),
        (TargetState::NotStarted, not_started),
        (TargetState::Waiting, progress.waiting),
    ]
}

fn standing(progress: &RolloutProgress) -> Html {
    let counts = counts(progress);
    let all = counts.iter().map(|(_, count)| count).sum::<u32>().max(1);
    let scaled = |count: u32| (u64::from(count) * u64::from(WIDTH) / u64::from(all)).to_string();
    let mut before = 0;
    let bars = counts.map(|(state, count)| {
        let x = scaled(before);
        before += count;
        html! {
            <rect class={label(state).tone.class()} {x} y="0" height="12" width={scaled(count)} />
        }
    });
    let said = counts.map(|(state, count)| format!("{count} {}", label(state).text)).join(", ");
    let reason = progress.reason.as_ref().map(|reason| {
        let (tone, word) = match progress.state.as_str() {
            "paused" => (Tone::Waiting, "Paused: "),
            "complete" => (Tone::Verified, ""),
            _ => (Tone::Failed, ""),
        };
        html! {
            <Callout {tone} glyph={Glyph::Warning} testid="rollout-reason">
                <p><b>{ word }</b>{ words::sentence(reason) }</p>
            </Callout>
        }
    });
    html! {
        <>
            { for reason }
            <svg class="rollout-bar" role="img" aria-label={said} preserveAspectRatio="none"
                viewBox={format!("0 0 {WIDTH} 12")}>{ for bars }</svg>
            <ul class="rollout-counts">
                { for counts.map(|(state, count)| html! {
                    <li class={label(state).tone.class()} data-testid={format!("count-{}", state.as_str())}>
                        <b>{ count }</b>{ " " }{ label(state).text }
                    </li>
                }) }
            </ul>
        </>
    }
}

fn label(state: TargetState) -> Label {
    let (text, tone, glyph) = match state {
        TargetState::Waiting => ("waiting", Tone::Neutral, Glyph::Clock),
        TargetState::Executing => ("executing", Tone::Active, Glyph::Play),
        TargetState::Complete => ("complete", Tone::Verified, Glyph::Check),
        TargetState::Failed => ("failed", Tone::Failed, Glyph::Cross),
        TargetState::OutcomeUnknown => ("of unknown outcome", Tone::Waiting, Glyph::Question),
        TargetState::NotStarted => ("not started", Tone::Neutral, Glyph::Cross),
    };
    Label { text, tone, glyph }
}

/// State, batches that have begun, and how many did not end well: with each of them the list of targets is
/// another one for whoever looks at it.
type Stage = (String, u32, u32);

fn stage(progress: &RolloutProgress) -> Stage {
    (progress.state.clone(), progress.batches, progress.tally.bad())
}

#[derive(Properties, PartialEq)]
struct TargetsProps {
    change: Rc<ChangeView>,
    /// The list is read again at the next one.
    stage: Option<Stage>,
}

#[component]
fn Targets(props: &TargetsProps) -> Html {
    let wanted = use_state_eq(|| "failed,outcome_unknown".to_owned());
    let path = format!("/change-requests/{}/targets", props.change.id);
    let path = query::with(&path, &[("state", wanted.as_str())]);
    let list = use_list::<RolloutTargetView>(Some(path));
    {
        let list = list.clone();
        use_effect_with((props.stage.clone(), props.change.version), move |_| list.reload());
    }
    let mut options = vec![
        (AttrValue::from("failed,outcome_unknown"), AttrValue::from("Those that need somebody")),
        (AttrValue::from(""), AttrValue::from("All targets")),
    ];
    options.extend(TargetState::ALL.map(|state| {
        let text = label(state).text;
        (AttrValue::from(state.as_str()), AttrValue::from(format!("Only {text}")))
    }));
    let on_change = {
        let wanted = wanted.setter();
        Callback::from(move |state| wanted.set(state))
    };
    let items = list.items.clone();
    html! {
        <>
            <div class="filters">
                <FilterSelect label="Which targets" value={(*wanted).clone()} {options} {on_change}
                    testid="targets-filter" />
            </div>
            { for list.error.clone().map(|error| html! { <ProblemNote {error} /> }) }
            if let Some(items) = items {
                if items.is_empty() {
                    <p class="faint" data-testid="no-targets">{ "There are none." }</p>
                } else {
                    <ol class="rollout-targets" data-testid="targets">
                        { for items.iter().map(|target| {
                            let Label { text, tone, glyph } = label(target.state);
                            html! {
                                <li key={target.no} data-state={target.state.as_str()}>
                                    <code>{ &target.name }</code>
                                    <Badge label={Label { text, tone, glyph }} />
                                    if let Some(reason) = &target.reason {
                                        <span class="small">{ words::sentence(reason) }</span>
                                    }
                                </li>
                            }
                        }) }
                    </ol>
                }
                if list.more {
                    <button type="button" class="button" disabled={list.loading} data-testid="more-targets"
                        onclick={let list = list.clone(); move |_| list.load_more()}>{ "Show more" }</button>
                }
            }
        </>
    }
}
