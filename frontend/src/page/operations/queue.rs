//! What waits for what, and who carries out what.

use nexplane_core::api::{LeaseView, OperationsView, QueueKind, QueueView};
use yew::prelude::*;

use super::subject;
use crate::component::link::Link;
use crate::component::time::Time;
use crate::route::Route;
use crate::{format, words};

pub fn queues(queues: &[QueueView]) -> Html {
    html! {
        <section class="panel flush" aria-labelledby="queues-title">
            <h2 id="queues-title">{ "Waiting" }</h2>
            <div class="table-frame inner">
                <table class="table" data-testid="queue-list">
                    <caption class="visually-hidden">{ "What waits, and what has waited longest" }</caption>
                    <thead><tr>
                        <th scope="col">{ "For" }</th><th scope="col" class="col-amount">{ "Waiting" }</th>
                        <th scope="col">{ "Longest" }</th>
                    </tr></thead>
                    <tbody>{ for queues.iter().map(queue) }</tbody>
                </table>
            </div>
        </section>
    }
}

/// Where all that waits in a queue is listed.
fn all(kind: QueueKind) -> Option<(Route, Vec<(&'static str, String)>)> {
    let changes = |state: &str| Some((Route::Changes, vec![("state", state.to_owned())]));
    match kind {
        QueueKind::Approval => changes("submitted"),
        QueueKind::Execution => changes("approved"),
        QueueKind::Scheduled => changes("scheduled"),
        QueueKind::Executing | QueueKind::Turn => changes("executing"),
        QueueKind::Settlement => changes("outcome_unknown"),
        QueueKind::Order | QueueKind::Answer => Some((Route::Hosts, Vec::new())),
        QueueKind::Reaction => None,
    }
}

fn queue(row: &QueueView) -> Html {
    let (what, help) = words::queue(row.kind);
    let count = format::number(row.waiting);
    html! {
        <tr key={row.kind.as_str()} data-testid="queue-row" data-kind={row.kind.as_str()} data-waiting={row.waiting.to_string()}>
            <td class="col-queue"><b>{ what }</b><p class="faint small">{ help }</p></td>
            <td class="col-amount">
                if row.waiting == 0 {
                    <span class="faint">{ count }</span>
                } else if let Some((to, query)) = all(row.kind) {
                    <Link {to} {query} testid="queue-all">{ count }</Link>
                } else {
                    { count }
                }
            </td>
            <td>
                if let Some(since) = row.oldest {
                    <p class="nowrap"><Time at={since} relative=true /></p>
                    if let Some(about) = &row.subject {
                        <p class="small">{ subject(about) }</p>
                    }
                }
            </td>
        </tr>
    }
}

pub fn leases(view: &OperationsView) -> Html {
    let more = view.leases_in_all.saturating_sub(view.leases.len() as u64);
    html! {
        <section class="panel flush" aria-labelledby="leases-title">
            <h2 id="leases-title">{ "Who carries out what" }</h2>
            if view.leases.is_empty() {
                <p class="faint panel-note" data-testid="leases-none">{ "No server works on a run now." }</p>
            } else {
                <div class="table-frame inner">
                    <table class="table" data-testid="lease-list">
                        <caption class="visually-hidden">{ "Runs and the servers that hold them" }</caption>
                        <thead><tr>
                            <th scope="col">{ "Run of" }</th><th scope="col">{ "Server" }</th>
                            <th scope="col">{ "Since" }</th><th scope="col">{ "Until, unless renewed" }</th>
                        </tr></thead>
                        <tbody>{ for view.leases.iter().map(lease) }</tbody>
                    </table>
                </div>
                if more > 0 {
                    <p class="faint panel-note">{ format!("And {} more.", format::number(more)) }</p>
                }
            }
        </section>
    }
}

fn lease(lease: &LeaseView) -> Html {
    // The end of an id is what differs between two servers.
    let short = lease.worker.get(24..).unwrap_or(&lease.worker).to_owned();
    html! {
        <tr key={lease.run.to_string()} data-testid="lease-row" data-expired={lease.expired.to_string()}>
            <td class="col-main">
                if let Some(about) = &lease.subject {
                    { subject(about) }
                } else {
                    <code>{ format::short_id(lease.run.0) }</code>
                }
            </td>
            <td class="nowrap"><code title={lease.worker.clone()}>{ "…" }{ short }</code>
                if lease.here {
                    <p class="faint small">{ "the one that answers" }</p>
                }
            </td>
            <td class="nowrap">if let Some(at) = lease.since { <Time {at} exact=true /> }</td>
            <td class="nowrap">
                <Time at={lease.until} exact=true />
                if lease.expired {
                    <p class="small"><span class="tag">{ "not renewed" }</span></p>
                }
            </td>
        </tr>
    }
}
