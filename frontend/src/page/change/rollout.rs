//! A change on many targets: how it is gone through, and how far that is, live. Its targets have a page.

use std::rc::Rc;

use nexplane_core::api::{ChangeView, RolloutProgress, RolloutView};
use nexplane_core::id::ChangeId;
use nexplane_core::rollout::event::Strategy;
use yew::prelude::*;

use crate::component::badge::Callout;
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::target_counts::{TargetCounts, stage};
use crate::format;
use crate::live::{Event, use_live};
use crate::route::Route;
use crate::words::{self, Tone};

/// How far the rollout of a change is, as it was last told. `on_event` hears of everything that moves.
#[hook]
pub fn use_rollout(
    id: ChangeId,
    change: Option<&Rc<ChangeView>>,
    on_event: Callback<Event>,
) -> Option<RolloutProgress> {
    let told = use_state_eq(|| None::<RolloutProgress>);
    {
        let told = told.setter();
        use_live(
            vec![format!("rollout:{id}")],
            Callback::from(move |event: Event| {
                if let Event::Changed { changed, .. } = &event {
                    let progress = changed.get("progress").cloned().unwrap_or_default();
                    told.set(serde_json::from_value(progress).ok());
                }
                on_event.emit(event);
            }),
        );
    }
    let change = change?;
    let read = change.rollout.as_ref()?.progress.as_ref();
    // A notice is newer than what was read with the change, unless that was read at its end.
    match (&*told, read) {
        (Some(told), _) if !change.state.is_settled() => Some(told.clone()),
        (_, read) => read.cloned(),
    }
}

/// Why it is paused, was stopped, or did not end well.
pub fn reason(progress: &RolloutProgress) -> Html {
    let Some(reason) = &progress.reason else { return html! {} };
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
}

fn standing(change: &ChangeView, progress: &RolloutProgress) -> Html {
    html! {
        <>
            { reason(progress) }
            <TargetCounts change={change.id} progress={progress.clone()} />
            <p class="small" data-testid="rollout-stage">{ stage(progress) }</p>
        </>
    }
}

#[derive(Properties, PartialEq)]
pub struct RolloutProps {
    pub change: Rc<ChangeView>,
}

#[component]
pub fn Rollout(props: &RolloutProps) -> Html {
    let change = &props.change;
    let progress = use_rollout(change.id, Some(change), Callback::noop());
    let progress = progress.as_ref();
    let Some(rollout) = &change.rollout else { return html! {} };
    html! {
        <section class="panel order-5" aria-labelledby="rollout-title" data-testid="rollout"
            data-state={progress.map(|progress| progress.state.clone())}>
            <div class="panel-head">
                <h2 id="rollout-title">{ "Rollout" }</h2>
                <p class="faint small">{ plan_of(rollout) }</p>
            </div>
            if let Some(progress) = progress {
                { standing(change, progress) }
            }
            if change.plan.is_some() {
                <p class="panel-more">
                    <Link to={Route::Targets { id: change.id }} class="button small" testid="all-targets">
                        { format!("Look at {}", format::count(rollout.targets.into(), "target", "targets")) }
                    </Link>
                </p>
            }
        </section>
    }
}

pub fn plan_of(rollout: &RolloutView) -> String {
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
