//! How Nexplane itself is: its read models, and how far behind the log they are.

use nexplane_core::api::{Page, ProjectionView};
use yew::prelude::*;

use crate::component::badge::{Badge, Callout};
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::live::use_live;
use crate::resource::use_resource;
use crate::words::Tone;
use crate::{format, words};

#[component]
pub fn Operations() -> Html {
    let projections = use_resource::<Page<ProjectionView>>(Some("/projections".to_owned()));
    {
        let projections = projections.clone();
        use_live(
            vec!["projections".to_owned()],
            Callback::from(move |_: crate::live::Event| projections.reload()),
        );
    }
    let rows = projections.value.as_ref().map(|page| page.items.as_slice());
    let behind = rows.unwrap_or_default().iter().any(|row| row.state == "stalled");
    html! {
        <>
            <Head title="Operations" lead="Read models are made from the log and can be made again at any time." >
                <button type="button" class="button" onclick={
                    let projections = projections.clone();
                    move |_| projections.reload()
                } disabled={projections.loading} data-testid="projections-reload">{ "Read again" }</button>
            </Head>
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
        </>
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
            <div class="table-frame">
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
