//! Where it happens, what depends on that, and when.

use nexplane_core::api::{ChangeView, PlaceTarget, PlaceView, TimingView};
use yew::prelude::*;

use crate::component::badge::{Badge, Callout, EnvironmentBadge};
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::time::Time;
use crate::format;
use crate::route::Route;
use crate::words::{Label, Tone};

const CRITICAL: Label = Label { text: "Critical", tone: Tone::Failed, glyph: Glyph::Warning };

/// Targets that are named without asking for more.
const NAMED: usize = 6;

pub fn place(place: &PlaceView) -> Html {
    let targets = u64::from(place.target_count);
    let (first, others) = place.targets.split_at(place.targets.len().min(NAMED));
    let unnamed = targets.saturating_sub(u64::try_from(place.targets.len()).unwrap_or(u64::MAX));
    html! {
        <section class="panel where" aria-labelledby="where-title" data-testid="approve-where">
            <h2 id="where-title">{ "Where" }</h2>
            <p class="where-place">
                <Link to={Route::Connection { id: place.connection }}>{ &place.connection_name }</Link>
                if let Some(environment) = place.environment {
                    <EnvironmentBadge {environment} />
                }
                if let Some(connector) = &place.connector {
                    <span class="faint">{ connector }</span>
                }
                <span class="faint" data-testid="target-count" data-count={targets.to_string()}>
                    { format::count(targets, "target", "targets") }
                    if place.critical_targets > 0 && targets > 1 {
                        { format!(", {} of them critical", place.critical_targets) }
                    }
                </span>
            </p>
            <ul class="where-targets">{ for first.iter().map(target) }</ul>
            if !others.is_empty() {
                <details>
                    <summary>{ format!("{} more", others.len()) }</summary>
                    <ul class="where-targets">{ for others.iter().map(target) }</ul>
                </details>
            }
            if unnamed > 0 {
                <p class="small"><Link to={Route::Assets}>
                    { format!("and {} that are not named here", format::number(unnamed)) }
                </Link></p>
            }
        </section>
    }
}

fn target(target: &PlaceTarget) -> Html {
    html! {
        <li data-testid="approve-target">
            <Link to={Route::Asset { id: target.id }}><code>{ &target.name }</code></Link>
            if target.critical {
                <Badge label={CRITICAL} />
            }
            <span class="faint small">
                { match &target.owner {
                    Some(owner) => format!("owner {owner}"),
                    None => "no owner is set".to_owned(),
                } }
                if target.gone {
                    { " · was not there at the last discovery" }
                }
            </span>
        </li>
    }
}

/// The blast radius: a number, with names.
pub fn around(place: &PlaceView) -> Html {
    let count = u64::from(place.dependant_count);
    let unnamed = count.saturating_sub(u64::try_from(place.dependants.len()).unwrap_or(u64::MAX));
    let more = if place.more_dependants { "at least " } else { "" };
    let critical = match place.critical_dependants {
        0 => "none of them critical".to_owned(),
        some => format!("{some} of them critical"),
    };
    html! {
        <div class="around" data-testid="approve-around" data-count={count.to_string()}>
            <h3>{ "Blast radius" }</h3>
            if count == 0 {
                <p class="faint">{ "Nothing is known to depend on it." }</p>
            } else {
                <p>{ format!("{more}{} on it, {critical}.", match count {
                    1 => "1 asset depends".to_owned(),
                    _ => format!("{} assets depend", format::number(count)),
                }) }</p>
                <ul class="around-names">
                    { for place.dependants.iter().map(|dependant| html! {
                        <li>
                            <Link to={Route::Asset { id: dependant.id }} title={dependant.kind.clone()}>
                                <code>{ &dependant.name }</code>
                            </Link>
                            if dependant.critical {
                                <Badge label={CRITICAL} />
                            }
                        </li>
                    }) }
                    if unnamed > 0 {
                        <li class="faint">{ format!("and {} more", format::number(unnamed)) }</li>
                    }
                </ul>
            }
        </div>
    }
}

pub fn when(change: &ChangeView, timing: &TimingView) -> Html {
    html! {
        <section class="panel order-3" aria-labelledby="when-title" data-testid="approve-when">
            <h2 id="when-title">{ "When" }</h2>
            <div class="sentences">
                { for change.frozen.iter().map(|frozen| html! {
                    <Callout tone={Tone::Waiting} glyph={Glyph::Clock}>
                        <p>{ format!("Frozen: “{}”. It cannot be approved before ", frozen.reason) }
                        <Time at={frozen.end} />{ "." }</p>
                    </Callout>
                }) }
                <p>{ match timing.window {
                    Some(window) => html! {
                        <>{ "To run between " }<Time at={window.start} />{ " and " }<Time at={window.end} />{ "." }</>
                    },
                    None => html! { { "Once it is approved and an operator executes it; no window was asked for." } },
                } }</p>
                if let Some(closed) = &timing.closed {
                    <p>
                        { format!("It waits for the maintenance window “{}”, which ", closed.window) }
                        if let Some(opens) = closed.opens {
                            { "opens " }<Time at={opens} />{ "." }
                        } else {
                            { "never opens again." }
                        }
                    </p>
                }
                if timing.delay_s > 0 {
                    <p>{ format!("Not before {} have passed since the last approval.", span(timing.delay_s)) }</p>
                }
                if let Some(valid_s) = timing.valid_s {
                    <p>{ format!("An approval counts for {}.", span(valid_s)) }
                        if let Some(until) = change.approved_until {
                            { " This one ends " }<Time at={until} />{ "." }
                        }
                    </p>
                }
                if let Some(plan) = &change.plan {
                    <p class="faint small">
                        { "The target was read " }<Time at={plan.computed_at} relative=true />
                        { " for this plan. It is read again before it runs; if it moved, nothing is done." }
                    </p>
                }
            </div>
        </section>
    }
}

fn span(seconds: u32) -> String {
    if seconds >= 3600 && seconds.is_multiple_of(3600) {
        format::count(u64::from(seconds / 3600), "hour", "hours")
    } else if seconds >= 60 {
        format::count(u64::from(seconds.div_ceil(60)), "minute", "minutes")
    } else {
        format::count(u64::from(seconds), "second", "seconds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole() {
        assert_eq!(span(72 * 3600), "72 hours");
        assert_eq!(span(900), "15 minutes");
        assert_eq!(span(3601), "61 minutes");
        assert_eq!(span(1), "1 second");
    }
}
