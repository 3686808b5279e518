//! How Nexplane itself is: what has stalled, what waits, who carries out what, how far the log is sealed, agents by
//! version, discoveries that failed, and the read models.

mod queue;
mod side;

use nexplane_core::api::{OperationsView, Page, ProjectionView, StalledView, Subject};
use yew::prelude::*;

use crate::component::badge::{Badge, Callout};
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::live::{News, use_news};
use crate::resource::use_resource;
use crate::route::Route;
use crate::session::use_may_audit;
use crate::words::Tone;
use crate::{format, words};

#[component]
pub fn Operations() -> Html {
    let operations = use_resource::<OperationsView>(Some("/operations".to_owned()));
    let projections = use_resource::<Page<ProjectionView>>(Some("/projections".to_owned()));
    let may_audit = use_may_audit();
    let read = {
        let (operations, projections) = (operations.clone(), projections.clone());
        Callback::from(move |()| {
            operations.reload();
            projections.reload();
        })
    };
    use_news(
        ["projections", "changes", "hosts"].map(str::to_owned).to_vec(),
        read.reform(|_: News| ()),
    );
    let rows = projections.value.as_ref().map(|page| page.items.as_slice());
    let behind = rows.unwrap_or_default().iter().any(|row| row.state == "stalled");
    html! {
        <>
            <Head title="Operations" lead="What waits, what has stalled, and how Nexplane itself is." >
                if let Some(view) = &operations.value {
                    <span class="faint small">{ "As of " }<Time at={view.at} exact=true /></span>
                }
                <button type="button" class="button" onclick={read.reform(|_: MouseEvent| ())}
                    disabled={operations.loading} data-testid="projections-reload">{ "Read again" }</button>
            </Head>
            if let Some(error) = operations.error.clone() {
                <ProblemNote {error} />
            }
            if let Some(view) = operations.value.as_deref() {
                <div class="split">
                    <div class="stack">
                        { stalled(&view.stalled) }
                        { queue::queues(&view.queues) }
                        { queue::leases(view) }
                        { side::discoveries(view) }
                    </div>
                    <div class="stack">
                        { side::seal(&view.seal, may_audit) }
                        { side::agents(&view.agents) }
                        { side::lines(view) }
                    </div>
                </div>
            } else if operations.error.is_none() {
                <Skeleton lines={8} />
            }
            <section class="panel flush operations-models" aria-labelledby="models-title">
                <h2 id="models-title">{ "Read models" }</h2>
                <p class="faint panel-note">{ "Made from the log, and can be made again at any time." }</p>
                if let Some(error) = projections.error.clone() {
                    <ProblemNote {error} />
                }
                if behind {
                    <Callout tone={Tone::Failed} glyph={Glyph::Warning}>
                        <p>{ "A read model has stopped. What it shows is old, but nothing is lost. Rebuild it with " }
                            <code>{ "nexplane projections rebuild NAME" }</code>{ "." }</p>
                    </Callout>
                }
                { table(rows, projections.error.is_some()) }
            </section>
        </>
    }
}

/// A link to what a row is about.
fn subject(subject: &Subject) -> Html {
    match subject {
        Subject::Change { id, number, title } => html! {
            <Link to={Route::Change { id: *id }} testid="operations-subject">{ format!("#{number} {title}") }</Link>
        },
        Subject::Host { id, hostname } => html! {
            <Link to={Route::Host { id: *id }} testid="operations-subject">{ hostname }</Link>
        },
    }
}

fn stalled(rows: &[StalledView]) -> Html {
    html! {
        <section class="panel flush" aria-labelledby="stalled-title">
            <h2 id="stalled-title">{ "Stalled" }</h2>
            if rows.is_empty() {
                <p class="faint panel-note" data-testid="stalled-none">
                    { "Nothing has stood still for longer than it should." }
                </p>
            } else {
                <ul class="stalled" data-testid="stalled-list">
                    { for rows.iter().map(|row| html! {
                        <li class="tone-failed" data-testid="stalled-row" data-kind={words::stalled(row.kind)}>
                            <Icon glyph={Glyph::Warning} />
                            <div>
                                if let Some(about) = &row.subject {
                                    <p>{ subject(about) }</p>
                                }
                                <p><b>{ &row.sentence }</b></p>
                                <p class="faint">{ &row.advice }</p>
                            </div>
                            <p class="faint small nowrap"><Time at={row.since} relative=true /></p>
                        </li>
                    }) }
                </ul>
            }
        </section>
    }
}

fn table(rows: Option<&[ProjectionView]>, failed: bool) -> Html {
    match rows {
        None if failed => html! {},
        None => html! { <Skeleton lines={6} /> },
        Some([]) => html! {
            <Empty glyph={Glyph::Operations} title="No projection runs here" testid="projections-empty">
                <p>{ "Start a server with the role projections." }</p>
            </Empty>
        },
        Some(rows) => html! {
            <div class="table-frame inner">
                <table class="table numbers" data-testid="projection-list">
                    <caption class="visually-hidden">{ "Projections" }</caption>
                    <thead><tr>
                        <th scope="col">{ "Projection" }</th><th scope="col">{ "State" }</th>
                        <th scope="col" class="col-aside">{ "Version" }</th><th scope="col">{ "Next position" }</th>
                        <th scope="col">{ "Events behind" }</th>
                    </tr></thead>
                    <tbody>{ for rows.iter().map(row) }</tbody>
                </table>
            </div>
        },
    }
}

fn row(row: &ProjectionView) -> Html {
    html! {
        <tr key={row.name.clone()} data-testid="projection-row" data-state={row.state.clone()}>
            <td class="col-main">
                <b>{ &row.name }</b>
                if let Some(error) = &row.error {
                    <p class="row-waits wrap-any">{ error }</p>
                }
            </td>
            <td><Badge label={words::projection_state(&row.state)} /></td>
            <td class="col-aside">{ row.version }</td>
            <td>{ format::number(row.position) }</td>
            <td>{ format::number(row.lag) }</td>
        </tr>
    }
}
