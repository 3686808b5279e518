//! Risk: what is open, and how changes of each kind went so far.

use nexplane_core::api::{
    ChangeState, LikelyShare, RiskCalibration, RiskCounts, RiskHistory, RiskRow, RiskSummary,
    ScoreOutcome,
};
use nexplane_core::risk::RiskLevel;
use yew::prelude::*;

use crate::component::badge::Badge;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::risk::Meter;
use crate::component::skeleton::Skeleton;
use crate::live::use_live;
use crate::resource::use_resource;
use crate::route::Route;
use crate::{format, words};

#[component]
pub fn Risk() -> Html {
    let summary = use_resource::<RiskSummary>(Some("/risk/summary".to_owned()));
    let calibration = use_resource::<RiskCalibration>(Some("/risk/calibration".to_owned()));
    {
        let (summary, calibration) = (summary.clone(), calibration.clone());
        use_live(
            vec!["changes".to_owned()],
            Callback::from(move |event: crate::live::Event| {
                summary.reload_at(event.position());
                calibration.reload_at(event.position());
            }),
        );
    }
    html! {
        <>
            <Head title="Risk" lead="Scores from 1 to 10, each with its reasons on the change's page." />
            if let Some(error) = summary.error.clone() {
                <ProblemNote {error} retry={let summary = summary.clone(); move |()| summary.reload()} />
            }
            if let Some(summary) = summary.value.clone() {
                { levels(summary.open) }
                { top(&summary.top) }
                { history(&summary.history) }
                if let Some(calibration) = calibration.value.clone() {
                    { predicted(&calibration.scores) }
                } else if let Some(error) = calibration.error.clone() {
                    <ProblemNote {error}
                        retry={let calibration = calibration.clone(); move |()| calibration.reload()} />
                }
            } else if summary.error.is_none() {
                <Skeleton lines={10} />
            }
        </>
    }
}

fn levels(counts: RiskCounts) -> Html {
    let levels = [
        (
            RiskLevel::Critical,
            counts.critical,
            "two approvals, one by an administrator, and a delay",
        ),
        (RiskLevel::High, counts.high, "two approvals"),
        (RiskLevel::Medium, counts.medium, "one approval"),
        (RiskLevel::Low, counts.low, "one approval in production"),
    ];
    html! {
        <ul class="tiles" data-testid="risk-counts">
            { for levels.into_iter().map(|(level, count, rule)| {
                let look = words::risk_level(level);
                html! {
                    <li class={classes!("tile", look.tone.class())} data-testid={format!("risk-{}", level.as_str())}>
                        <span class="tile-head"><Icon glyph={look.glyph} />{ look.text }</span>
                        <span class="tile-number">{ format::number(count) }</span>
                        <span class="faint small">{ "open · " }{ rule }</span>
                    </li>
                }
            }) }
        </ul>
    }
}

fn top(rows: &[RiskRow]) -> Html {
    if rows.is_empty() {
        return html! {
            <Empty glyph={Glyph::Risk(0)} title="Nothing is open" testid="risk-empty">
                <Link to={Route::NewChange} class="button">{ "New change" }</Link>
            </Empty>
        };
    }
    html! {
        <section class="panel flush" aria-labelledby="top-title">
            <h2 id="top-title">{ "Open changes, riskiest first" }</h2>
            <div class="table-frame inner">
                <table class="table" data-testid="risk-top">
                    <thead><tr>
                        <th scope="col" class="col-number">{ "No." }</th><th scope="col">{ "Change" }</th>
                        <th scope="col">{ "Score" }</th><th scope="col">{ "State" }</th>
                    </tr></thead>
                    <tbody>{ for rows.iter().map(|row| {
                        let state = row.state.parse().ok().map(words::change_state);
                        html! {
                            <tr key={row.change.to_string()} data-testid="risk-row">
                                <td class="col-number">{ format!("#{}", row.number) }</td>
                                <td class="col-main">
                                    <Link to={Route::Change { id: row.change }} row=true class="row-link">{ &row.title }</Link>
                                </td>
                                <td class="col-score"><b>{ row.score }</b><Meter score={row.score} /></td>
                                <td>{ state.map_or_else(|| html! { { &row.state } }, |label| html! { <Badge {label} /> }) }</td>
                            </tr>
                        }
                    }) }</tbody>
                </table>
            </div>
        </section>
    }
}

fn history(rows: &[RiskHistory]) -> Html {
    if rows.is_empty() {
        return html! {};
    }
    html! {
        <section class="panel flush" aria-labelledby="history-title">
            <h2 id="history-title">{ "How finished changes went, by kind" }</h2>
            <div class="table-frame inner">
                <table class="table numbers" data-testid="risk-history">
                    <thead><tr>
                        <th scope="col">{ "Kind" }</th><th scope="col" class="col-bar">{ "Outcome" }</th>
                        <th scope="col">{ "Finished" }</th><th scope="col">{ "Failed" }</th>
                        <th scope="col">{ "Unknown" }</th><th scope="col">{ "Rolled back" }</th>
                    </tr></thead>
                    <tbody>{ for rows.iter().map(history_row) }</tbody>
                </table>
            </div>
        </section>
    }
}

fn history_row(row: &RiskHistory) -> Html {
    let failed = format::percent(row.failed, row.finished);
    // Every number leads to the changes that it counts.
    let changes = |count: u64, states: &str| {
        let query = vec![("change_type", row.change_type.clone()), ("state", states.to_owned())];
        html! { <Link to={Route::Changes} {query}>{ format::number(count) }</Link> }
    };
    let settled = ChangeState::ALL.into_iter().filter(|state| state.is_settled());
    let settled = settled.map(ChangeState::as_str).collect::<Vec<_>>().join(",");
    html! {
        <tr key={row.change_type.clone()}>
            <td class="col-main">
                { words::change_type(&row.change_type) }{ " " }
                <code class="small">{ &row.change_type }</code>
            </td>
            <td class="col-bar">{ bar(row) }</td>
            <td>
                { changes(row.finished, &settled) }
                if row.settled > 0 {
                    <span class="faint">{ format!(" · {} as a person says", format::number(row.settled)) }</span>
                }
            </td>
            <td>{ changes(row.failed, "failed") }if row.failed > 0 { <span class="faint">{ format!(" · {failed} %") }</span> }</td>
            <td>{ changes(row.outcome_unknown, "outcome_unknown") }</td>
            <td>{ changes(row.rolled_back, "rolled_back") }</td>
        </tr>
    }
}

/// Whether scores told what happened: how many of each went wrong, and how sure that is.
fn predicted(scores: &[ScoreOutcome]) -> Html {
    let rows: Vec<_> = scores.iter().filter(|row| row.finished > 0).collect();
    if rows.is_empty() {
        return html! {};
    }
    html! {
        <section class="panel flush" aria-labelledby="calibration-title">
            <h2 id="calibration-title">{ "Predicted against happened" }</h2>
            <p class="panel-note" data-testid="risk-verdict">{ verdict(scores) }</p>
            <div class="table-frame inner">
                <table class="table numbers" data-testid="risk-calibration">
                    <caption>
                        { "Went wrong: failed, of unknown outcome, or rolled back. The bar is where the true share \
                           lies with 95 % confidence." }
                    </caption>
                    <thead><tr>
                        <th scope="col">{ "Score" }</th><th scope="col" class="col-bar">{ "Went wrong" }</th>
                        <th scope="col">{ "Finished" }</th><th scope="col">{ "Wrong" }</th>
                        <th scope="col">{ "Likely" }</th>
                    </tr></thead>
                    <tbody>{ for rows.into_iter().map(score_row) }</tbody>
                </table>
            </div>
        </section>
    }
}

fn score_row(row: &ScoreOutcome) -> Html {
    let level = words::risk_level(row.level);
    let likely = row.likely.map(|LikelyShare { from, to }| format!("{from}–{to} %"));
    let likely = likely.unwrap_or_default();
    html! {
        <tr key={row.score}>
            <td class="col-main"><b>{ row.score }</b>{ " " }<span class="faint">{ level.text }</span></td>
            <td class="col-bar">{ interval(row) }</td>
            <td>{ format::number(row.finished) }</td>
            <td>{ format::number(row.went_wrong) }</td>
            <td>{ likely }</td>
        </tr>
    }
}

/// The likely share as a part of a line from 0 to 100 per cent, and what was seen as a mark on it.
fn interval(row: &ScoreOutcome) -> Html {
    let Some(LikelyShare { from, to }) = row.likely else { return html! {} };
    let seen = format::percent(row.went_wrong, row.finished).min(98);
    let label = format!(
        "{} of {} went wrong; likely between {from} and {to} per cent",
        row.went_wrong, row.finished
    );
    html! {
        <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label={label}>
            <rect class="part-none" x="0" y="0" width="100" height="8" />
            <rect class="part-likely" x={from.to_string()} y="2" width={(to - from).max(1).to_string()} height="4" />
            <rect class="part-seen" x={seen.to_string()} y="0" width="2" height="8" />
        </svg>
    }
}

/// What low scores (to 5) and high ones together say of the scores.
fn verdict(scores: &[ScoreOutcome]) -> &'static str {
    let of = |is_high: bool| {
        let rows = scores.iter().filter(|row| (row.score > 5) == is_high);
        let (wrong, finished) = rows.fold((0, 0), |(wrong, finished), row| {
            (wrong + row.went_wrong, finished + row.finished)
        });
        LikelyShare::of(wrong, finished)
    };
    match (of(false), of(true)) {
        (Some(low), Some(high)) if high.from > low.to => {
            "Changes with scores above 5 went wrong more often than the others: the scores tell something."
        }
        (Some(low), Some(high)) if low.from > high.to => {
            "Changes with scores up to 5 went wrong more often than those above: the scores mislead here. Look at \
             the reasons of those changes."
        }
        (Some(_), Some(_)) => "Too few changes are finished to tell low scores from high ones.",
        (None, _) | (_, None) => {
            "Finished changes all have scores on one side of 5: nothing to compare them with yet."
        }
    }
}

/// The parts of a whole as widths of 100.
fn parts(row: &RiskHistory) -> [(&'static str, u64); 5] {
    let whole = row.finished.max(1);
    let part = |count: u64| (count.min(whole) * 100).div_ceil(whole);
    let (failed, unknown, back) =
        (part(row.failed), part(row.outcome_unknown), part(row.rolled_back));
    let said = part(row.settled);
    let good = 100_u64.saturating_sub(failed + unknown + back + said);
    [
        ("part-verified", if row.finished == 0 { 0 } else { good }),
        ("part-said", said),
        ("part-rolled-back", back),
        ("part-unknown", unknown),
        ("part-failed", failed),
    ]
}

fn bar(row: &RiskHistory) -> Html {
    let mut x = 0;
    let rects: Vec<Html> = parts(row)
        .into_iter()
        .filter(|(_, width)| *width > 0)
        .map(|(class, width)| {
            let start = x;
            x += width;
            html! { <rect {class} x={start.to_string()} y="0" width={width.to_string()} height="8" /> }
        })
        .collect();
    let label = format!(
        "{} finished, {} failed, {} unknown, {} rolled back, {} applied as a person says",
        row.finished, row.failed, row.outcome_unknown, row.rolled_back, row.settled
    );
    html! {
        <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label={label}>
            <rect class="part-none" x="0" y="0" width="100" height="8" />{ for rects }
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_bar_fill_it() {
        let row = RiskHistory {
            change_type: String::new(),
            finished: 40,
            failed: 1,
            outcome_unknown: 0,
            rolled_back: 4,
            settled: 2,
        };
        let widths: Vec<u64> = parts(&row).iter().map(|(_, width)| *width).collect();
        assert_eq!(widths, [82, 5, 10, 0, 3]);
        assert_eq!(widths.iter().sum::<u64>(), 100);
    }

    #[test]
    fn scores_are_judged_only_when_there_is_enough_to_tell() {
        let row = |score, finished, went_wrong| ScoreOutcome {
            score,
            level: RiskLevel::of(score),
            finished,
            went_wrong,
            likely: LikelyShare::of(went_wrong, finished),
        };
        let says =
            |rows: &[ScoreOutcome], word: &str| assert!(verdict(rows).contains(word), "{rows:?}");
        says(&[row(2, 9, 0)], "one side");
        says(&[row(2, 9, 0), row(8, 3, 1)], "Too few");
        says(&[row(2, 900, 9), row(8, 300, 60)], "tell something");
        says(&[row(2, 900, 300), row(8, 300, 6)], "mislead");
    }

    #[test]
    fn nothing_finished_is_an_empty_bar() {
        let row = RiskHistory {
            change_type: String::new(),
            finished: 0,
            failed: 0,
            outcome_unknown: 0,
            rolled_back: 0,
            settled: 0,
        };
        assert!(parts(&row).iter().all(|(_, width)| *width == 0));
    }
}
