//! What undoing it does, whether that ever worked, and how such changes ended before.

use nexplane_core::api::{ChangeView, SimilarChange, SimilarTally, SimilarView, UndoOutlook};
use yew::prelude::*;

use crate::component::badge::StateBadge;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::time::Time;
use crate::format;
use crate::route::Route;
use crate::words;

pub fn undo(change: &ChangeView, undo: &UndoOutlook) -> Html {
    html! {
        <section class="panel order-5" aria-labelledby="undo-title" data-testid="approve-undo"
            data-possible={undo.possible.to_string()}>
            <h2 id="undo-title">{ "Undoing it" }</h2>
            <div class="sentences">
                <p>
                    <Icon glyph={if undo.possible { Glyph::Undo } else { Glyph::OneWay }} />{ " " }
                    { words::sentence(&undo.what) }
                </p>
                if undo.possible {
                    <p class="faint small">
                        if let Some(rollback) = change.rollback {
                            { "Possible until " }<Time at={rollback.possible_until} />{ "." }
                        } else {
                            { "Until when that is possible, its targets say once it has run. A rollback is a change \
                               of its own, and is approved like any other." }
                        }
                    </p>
                    { proof(undo) }
                }
            </div>
        </section>
    }
}

fn proof(undo: &UndoOutlook) -> Html {
    let failed = u64::from(undo.failed_since);
    let failed = (failed > 0).then(|| {
        html! {
            <p class="tone-failed undo-failed" data-testid="undo-failed" data-count={failed.to_string()}>
                <Icon glyph={Glyph::Cross} />{ " " }
                { match &undo.proven {
                    Some(proven) if proven.here => format!(
                        "Since then {} here did not work.",
                        format::count(failed, "rollback", "rollbacks")
                    ),
                    Some(_) | None => format!(
                        "{} of this action here did not work.",
                        format::count(failed, "rollback", "rollbacks")
                    ),
                } }
            </p>
        }
    });
    let Some(proven) = &undo.proven else {
        return html! {
            <>
                <p class="tone-neutral undo-proof" data-testid="undo-proof" data-proven="false">
                    <Icon glyph={Glyph::Question} />{ " " }
                    <b>{ "Never proven: no rollback of this action has been verified." }</b>
                </p>
                { for failed }
            </>
        };
    };
    let (tone, glyph) = if proven.here {
        ("tone-verified", Glyph::Check)
    } else {
        ("tone-neutral", Glyph::Question)
    };
    html! {
        <>
            <p class={classes!("undo-proof", tone)} data-testid="undo-proof" data-proven="true"
                data-here={proven.here.to_string()}>
                <Icon {glyph} />{ " " }
                if proven.here {
                    <b>{ "Last proven here " }<Time at={proven.at} /></b>
                } else {
                    <b>{ format!("Never proven here; last on {} ", proven.connection_name) }<Time at={proven.at} /></b>
                }
                { " by " }
                <Link to={Route::Change { id: proven.rollback }} testid="undo-proven-by">
                    { format!("#{} {}", proven.number, proven.title) }
                </Link>
                { ": every step was read back." }
            </p>
            { for failed }
        </>
    }
}

pub fn similar(similar: &SimilarView, change: &ChangeView) -> Html {
    let action = words::change_type(&change.change_type);
    html! {
        <section class="panel order-6" aria-labelledby="similar-title" data-testid="approve-similar"
            data-total={similar.counts.total.to_string()}>
            <div class="panel-head">
                <h2 id="similar-title">{ "Similar changes" }</h2>
                if !similar.first_here {
                    <Link to={Route::Changes} query={vec![("q", change.change_type.clone())]} class="small">
                        { "All of this action" }
                    </Link>
                }
            </div>
            if similar.first_here {
                <p><Icon glyph={Glyph::Question} />{ " " }
                    <b>{ "First time here: " }</b>
                    { format!("“{action}” was never executed on this connection before.") }</p>
            } else {
                <p>
                    { format!("“{action}” on this connection, the last {} days: ", similar.days) }
                    <b>{ tally(&similar.counts, similar.capped) }</b>{ "." }
                </p>
                if let Some(on_targets) = similar.on_targets.filter(|_| !change.targets.is_empty()) {
                    <p data-testid="similar-targets">
                        { if change.targets.len() == 1 { "On this target: " } else { "On one of these targets: " } }
                        { tally(&on_targets, false) }{ "." }
                    </p>
                }
                <ul class="similar-list">{ for similar.last.iter().map(row) }</ul>
            }
        </section>
    }
}

/// `12 ended: 10 complete, 1 failed, 1 rolled back`; what there is none of is not told.
fn tally(tally: &SimilarTally, capped: bool) -> String {
    if tally.total == 0 {
        return "none".to_owned();
    }
    let parts: Vec<String> = [
        (tally.complete, "complete and verified"),
        (tally.failed, "failed"),
        (tally.outcome_unknown, "of unknown outcome"),
        (tally.rolled_back, "rolled back"),
        (tally.rolling_back, "in a rollback that is not done"),
        (tally.settled, "settled by a person, not verified"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{} {what}", format::number(u64::from(count))))
    .collect();
    let all = format::number(u64::from(tally.total));
    let newest = if capped { "the newest " } else { "" };
    format!("{newest}{all} ended: {}", parts.join(", "))
}

fn row(similar: &SimilarChange) -> Html {
    html! {
        <li data-testid="similar-change" data-state={similar.state.as_str()}>
            <StateBadge state={similar.state} settled={similar.settled} />
            <Link to={Route::Change { id: similar.id }}>
                { format!("#{} {}", similar.number, similar.title) }
            </Link>
            <span class="faint small">
                if similar.same_target {
                    { "same target · " }
                }
                <Time at={similar.at} relative=true />
            </span>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_told() {
        let counts = SimilarTally { total: 3, complete: 2, settled: 1, ..SimilarTally::default() };
        let told = "3 ended: 2 complete and verified, 1 settled by a person, not verified";
        assert_eq!(tally(&counts, false), told);
        assert_eq!(tally(&SimilarTally::default(), false), "none");
    }
}
