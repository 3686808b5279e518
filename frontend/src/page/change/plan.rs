//! The plan: first what exactly changes, then what was asked of the target.

use std::rc::Rc;

use nexplane_core::api::{ChangeState, ChangeView, PlanView};
use nexplane_core::plan::Check;
use yew::prelude::*;

use crate::component::badge::Callout;
use crate::component::copy::CopyButton;
use crate::component::diff::Diff;
use crate::component::empty::Empty;
use crate::component::icon::{Glyph, Icon};
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::format;
use crate::words::{self, Tone};

#[derive(Properties, PartialEq)]
pub struct PlanProps {
    pub change: Rc<ChangeView>,
    /// It is being planned now.
    pub busy: bool,
}

#[component]
pub fn Plan(props: &PlanProps) -> Html {
    let change = &props.change;
    let body = match &change.plan {
        _ if props.busy => html! {
            <>
                <p class="faint" role="status">{ "Reading the target…" }</p>
                <Skeleton lines={5} />
            </>
        },
        Some(plan) => planned(change, plan),
        None => html! {
            <Empty glyph={Glyph::Eye} title="Not planned yet" testid="plan-empty">
                <p>{ "Planning reads the target and shows exactly what would change. It changes nothing." }</p>
            </Empty>
        },
    };
    html! {
        <section class="panel order-1" aria-labelledby="plan-title" data-testid="plan">
            <h2 id="plan-title">
                { heading(change.state) }
            </h2>
            { body }
        </section>
    }
}

fn planned(change: &ChangeView, plan: &PlanView) -> Html {
    let (_, why) = words::reversibility(&plan.reversibility);
    let failing = plan.checks.iter().filter(|check| !check.ok).count();
    let open = failing > 0 || change.state == ChangeState::Draft;
    html! {
        <>
            if !plan.reversible {
                <Callout tone={Tone::Failed} glyph={Glyph::OneWay} testid="one-way-warning">
                    <p><b>{ "This cannot be undone. " }</b>{ why }</p>
                </Callout>
            }
            <Diff diff={plan.diff.clone()} />
            if !plan.checks.is_empty() {
                <details class="checks" {open}>
                    <summary>
                        { checks_summary(plan.checks.len(), failing) }
                    </summary>
                    <ul data-testid="plan-checks">{ for plan.checks.iter().map(check_line) }</ul>
                </details>
            }
            <p class="digest faint small">
                { "Read " }<Time at={plan.computed_at} />{ " · plan " }
                <code data-testid="plan-digest" data-digest={plan.digest.clone()} title={plan.digest.clone()}>
                    { format::short_digest(&plan.digest) }
                </code>
                <CopyButton text={plan.digest.clone()} what="the plan's digest" />
            </p>
        </>
    }
}

/// "Changed" is only said of what was read back from the target.
const fn heading(state: ChangeState) -> &'static str {
    match state {
        ChangeState::Draft
        | ChangeState::Submitted
        | ChangeState::Approved
        | ChangeState::Scheduled
        | ChangeState::Executing => "What will change",
        ChangeState::Complete => "What changed",
        ChangeState::Failed
        | ChangeState::OutcomeUnknown
        | ChangeState::RollingBack
        | ChangeState::RolledBack
        | ChangeState::RollbackPartial
        | ChangeState::RollbackBlocked
        | ChangeState::Rejected
        | ChangeState::Cancelled
        | ChangeState::Expired => "What was planned",
    }
}

fn checks_summary(all: usize, failing: usize) -> String {
    let all = u64::try_from(all).unwrap_or(u64::MAX);
    let failing = u64::try_from(failing).unwrap_or(u64::MAX);
    if failing == 0 {
        format!("{} passed", format::count(all, "check", "checks"))
    } else {
        format!("{failing} of {} failed", format::count(all, "check", "checks"))
    }
}

pub fn check_line(check: &Check) -> Html {
    let (glyph, class, word) =
        if check.ok { (Glyph::Check, "ok", "passed") } else { (Glyph::Cross, "bad", "failed") };
    html! {
        <li class={classes!("check-line", class)} data-testid="check" data-ok={check.ok.to_string()}>
            <Icon {glyph} />
            <span>
                <b>{ &check.name }</b>
                <span class="visually-hidden">{ format!(" {word}") }</span>
                <span class="check-detail">{ &check.detail }</span>
            </span>
        </li>
    }
}
