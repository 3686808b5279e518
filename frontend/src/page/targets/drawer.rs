//! One target of a rollout: how it went, what was there before and after, and what one can do.

use nexplane_core::api::RolloutTargetDetail;
use nexplane_core::id::ChangeId;
use nexplane_core::plan::Step;
use yew::prelude::*;

use crate::component::badge::{Badge, Callout};
use crate::component::dialog::{Dialog, Shape};
use crate::component::diff::Diff;
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::page::change::step_list;
use crate::resource::use_resource;
use crate::route::Route;
use crate::words::{self, Tone};

#[derive(Properties, PartialEq)]
pub struct DrawerProps {
    pub change: ChangeId,
    pub no: u32,
    /// Of what is known of it in the list: at another one it is read again.
    pub position: Option<u64>,
    pub on_close: Callback<()>,
}

#[component]
pub fn Drawer(props: &DrawerProps) -> Html {
    let DrawerProps { change, no, position, .. } = *props;
    let path = format!("/change-requests/{change}/targets/{no}");
    let detail = use_resource::<RolloutTargetDetail>(Some(path));
    {
        let detail = detail.clone();
        let read = detail.value.as_ref().map(|detail| detail.target.position);
        use_effect_with(position, move |position| {
            if read.is_some() && *position > read {
                detail.reload_at(*position);
            }
        });
    }
    let title = detail
        .value
        .as_ref()
        .map_or_else(|| format!("Target {}", no + 1), |detail| detail.target.name.clone());
    html! {
        <Dialog {title} shape={Shape::Drawer} on_close={props.on_close.clone()} testid="target-drawer">
            if let Some(error) = detail.error.clone() {
                <ProblemNote {error} retry={let detail = detail.clone(); move |()| detail.reload()} />
            }
            if let Some(detail) = &detail.value {
                { body(detail) }
            } else if detail.error.is_none() {
                <Skeleton lines={8} />
            }
        </Dialog>
    }
}

fn body(detail: &RolloutTargetDetail) -> Html {
    let RolloutTargetDetail { target, step, run, advice } = detail;
    let label = words::target_state(target.state);
    // A run of one target has one step, whatever its number in the plan is.
    let planned = Step { no: 0, ..step.clone() };
    let ran = run.as_ref().map_or(&[][..], |run| &run.steps);
    html! {
        <div class="stack">
            <p class="badges"><Badge {label} value={target.state.as_str()} testid="target-state" />
                <span class="faint small">{ "since " }<Time at={target.since} exact=true /></span>
            </p>
            if let Some(waits) = &target.waiting_for {
                <p data-testid="target-waits">{ waits }</p>
            }
            if target.reason.is_some() || advice.is_some() {
                <Callout tone={label.tone} glyph={if label.tone == Tone::Failed { Glyph::Warning } else { Glyph::Info }}
                    testid="target-reason">
                    if let Some(reason) = &target.reason {
                        <p><b>{ words::sentence(reason) }</b></p>
                    }
                    if let Some(advice) = advice {
                        <p data-testid="target-advice">{ advice }</p>
                    }
                </Callout>
            }
            <section aria-labelledby="target-steps">
                <h3 id="target-steps">{ "How it went" }</h3>
                { step_list(std::slice::from_ref(&planned), ran) }
            </section>
            <section aria-labelledby="target-plan">
                <h3 id="target-plan">{ "What was approved for it" }</h3>
                <Diff diff={step.diff.clone()} limit={60_usize} />
            </section>
            <p class="button-list">
                <Link to={Route::Asset { id: target.asset }} class="button small" testid="target-asset">{ "Its asset" }</Link>
                if let Some(run) = target.run {
                    <Link to={Route::Audit} class="button small" testid="target-events"
                        query={vec![("resource", run.to_string())]}>{ "Its events" }</Link>
                }
            </p>
        </div>
    }
}
