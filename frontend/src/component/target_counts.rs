//! How many targets of a rollout are where: a bar, and the numbers, each of which leads to its targets.

use nexplane_core::api::{RolloutProgress, TargetState};
use nexplane_core::id::ChangeId;
use nexplane_core::rollout::event::Tally;
use yew::prelude::*;

use super::icon::Icon;
use super::link::Link;
use crate::route::Route;
use crate::{format, words};

/// Width of the bar, in its own units.
const WIDTH: u32 = 1000;

/// In the order of the bar: what is over, what is under way, what is to come.
pub const fn counts(progress: &RolloutProgress) -> [(TargetState, u32); 7] {
    let Tally { complete, failed, unknown, not_started } = progress.tally;
    [
        (TargetState::Complete, complete),
        (TargetState::RolledBack, progress.rolled_back),
        (TargetState::Failed, failed),
        (TargetState::OutcomeUnknown, unknown),
        (TargetState::Executing, progress.executing),
        (TargetState::Waiting, progress.waiting),
        (TargetState::NotStarted, not_started),
    ]
}

#[derive(Properties, PartialEq)]
pub struct TargetCountsProps {
    pub change: ChangeId,
    pub progress: RolloutProgress,
    /// The state that is shown alone: its number leads back to all.
    #[prop_or_default]
    pub chosen: Option<TargetState>,
    /// What else is in the address of the targets.
    #[prop_or_default]
    pub kept: Vec<(&'static str, String)>,
}

#[component]
pub fn TargetCounts(props: &TargetCountsProps) -> Html {
    let counts = counts(&props.progress);
    let all = counts.iter().map(|(_, count)| count).sum::<u32>();
    let scaled = |count: u32| u64::from(count) * u64::from(WIDTH) / u64::from(all.max(1));
    let mut before = 0;
    let bars = counts.map(|(state, count)| {
        let (x, end) = (scaled(before), scaled(before + count));
        before += count;
        // One of ten thousand can be seen.
        let width = if count > 0 { (end - x).max(2) } else { 0 };
        let class = classes!(words::target_state(state).tone.class(), state.as_str());
        html! { <rect {class} x={x.to_string()} y="0" height="12" width={width.to_string()} /> }
    });
    let number = |count: u32| format::number(u64::from(count));
    let said = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| {
            format!("{} {}", number(*count), words::target_state(*state).text.to_lowercase())
        })
        .collect::<Vec<_>>()
        .join(", ");
    let items = counts.map(|(state, count)| {
        let label = words::target_state(state);
        let chosen = props.chosen == Some(state);
        let mut query = props.kept.clone();
        if !chosen {
            query.push(("state", state.as_str().to_owned()));
        }
        let class = classes!("target-count", label.tone.class(), (count == 0).then_some("none"));
        html! {
            <li key={state.as_str()} data-testid={format!("count-{}", state.as_str())}>
                <Link to={Route::Targets { id: props.change }} {query} {class} current={chosen}
                    title={if chosen { "Show all targets" } else { "Show these targets" }}>
                    <Icon glyph={label.glyph} /><b>{ number(count) }</b>{ label.text }
                </Link>
            </li>
        }
    });
    html! {
        <>
            <svg class="rollout-bar" role="img" preserveAspectRatio="none" viewBox={format!("0 0 {WIDTH} 12")}
                aria-label={format!("Of {} targets: {said}", number(all))}>{ for bars }</svg>
            <ul class="rollout-counts">{ for items }</ul>
        </>
    }
}

/// Which of its batches a rollout is in.
pub fn stage(progress: &RolloutProgress) -> String {
    let RolloutProgress { batches, batches_planned, .. } = progress;
    let of = format!("of {batches_planned}");
    match batches {
        0 => format!("No batch {of} has begun."),
        1 => format!("Batch 1 {of}, the canary."),
        some => format!("Batch {some} {of}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_number() {
        let progress = RolloutProgress {
            waiting: 1,
            executing: 2,
            tally: Tally { complete: 3, failed: 4, unknown: 5, not_started: 6 },
            rolled_back: 7,
            ..RolloutProgress::default()
        };
        let counts = counts(&progress);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u32>(), 28);
        for state in TargetState::ALL {
            assert_eq!(counts.iter().filter(|(other, _)| *other == state).count(), 1);
        }
    }
}
