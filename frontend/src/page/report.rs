//! A change as a document: for paper, or a file made of it. Nothing is around it, all times are in UTC, and it says how
//! what it says can be verified without us.

use std::rc::Rc;

use nexplane_core::api::{ApprovalView, ChangeView, EventView, HostOrderView, Page, StepView};
use nexplane_core::id::ChangeId;
use nexplane_core::proof::checkpoint::Checkpoint;
use nexplane_core::proof::note::Note;
use nexplane_core::risk::Risk;
use nexplane_core::time::Timestamp;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::api::{self, ApiError};
use crate::clock;
use crate::component::change_table::{name, target_count, waits};
use crate::component::event_list;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::shell::set_title;
use crate::component::skeleton::Skeleton;
use crate::format::{self, utc};
use crate::resource::{use_list, use_resource};
use crate::route::Route;
use crate::words;

/// Targets that are named.
const TARGETS: usize = 100;

#[derive(Properties, PartialEq)]
pub struct ReportProps {
    pub id: ChangeId,
}

#[component]
pub fn Report(props: &ReportProps) -> Html {
    let id = props.id;
    let change = use_resource::<ChangeView>(Some(format!("/change-requests/{id}")));
    let events = use_list::<EventView>(Some(format!("/change-requests/{id}/events?limit=200")));
    {
        // A report of a part of what happened would be none.
        let events = events.clone();
        use_effect_with((events.more, events.loading), move |(more, loading)| {
            if *more && !*loading {
                events.load_more();
            }
        });
    }
    // The built-in connection of a host has the host's id.
    let host = change
        .value
        .as_deref()
        .filter(|change| change.change_type.starts_with("host.") && change.run.is_some())
        .map(|change| format!("/hosts/{}/orders?limit=200", change.connection_id));
    let orders = use_resource::<Page<HostOrderView>>(host.clone());
    let seal = use_seal(id);
    let title =
        change.value.as_ref().map(|view| format!("#{} {} · report", view.number, view.title));
    use_effect_with(title, |title| {
        if let Some(title) = title {
            set_title(title);
        }
    });
    if let Some(error) = change.error.clone().or(events.error.clone()) {
        return html! { <main class="report"><ProblemNote {error} /></main> };
    }
    let is_read = !events.more && !events.loading && (host.is_none() || !orders.loading);
    let (Some(view), Some(rows), Some(seal), true) =
        (change.value.clone(), events.items.clone(), seal, is_read)
    else {
        return html! { <main class="report"><Skeleton lines={20} /></main> };
    };
    let orders = orders.value.as_deref().map_or(&[][..], |page| page.items.as_slice());
    html! {
        <main class="report" data-testid="report" data-id={id.to_string()}>
            { bar(id) }
            { head(&view) }
            { request(&view) }
            { plan(&view) }
            if let Some(risk) = &view.risk { { factors(risk) } }
            { approvals(&view) }
            { run(&view, orders, host.is_some()) }
            { happened(&rows) }
            { verification(&rows, &seal) }
        </main>
    }
}

/// The newest checkpoint and the key of the log, or why there is none.
#[derive(Clone, PartialEq)]
struct Seal {
    note: Result<String, ApiError>,
    key: Result<String, ApiError>,
}

#[hook]
fn use_seal(id: ChangeId) -> Option<Seal> {
    let seal = use_state_eq(|| None);
    {
        let seal = seal.setter();
        use_effect_with(id, move |_| {
            spawn_local(async move {
                let note = api::text("/log/checkpoint").await;
                let key = api::text("/log/key").await;
                seal.set(Some(Seal { note, key }));
            });
        });
    }
    (*seal).clone()
}

/// What is on the screen only.
fn bar(id: ChangeId) -> Html {
    let print = Callback::from(|_: MouseEvent| {
        if let Some(window) = web_sys::window() {
            // A browser that cannot print has its own words for that.
            drop(window.print());
        }
    });
    html! {
        <nav class="report-bar" aria-label="Report">
            <Link to={Route::Change { id }} class="button small" testid="report-back">
                <Icon glyph={Glyph::Back} />{ "Back to the change" }
            </Link>
            <button type="button" class="button primary small" onclick={print} data-testid="report-print">
                <Icon glyph={Glyph::Printer} />{ "Print" }
            </button>
        </nav>
    }
}

fn head(change: &ChangeView) -> Html {
    html! {
        <header>
            <p class="report-kind">{ "Nexplane · change report" }</p>
            <h1>{ format!("#{} {}", change.number, change.title) }</h1>
            <dl class="report-facts">
                { fact("State", html! { <b data-testid="report-state">{ words::change_standing(change.state, change.settled.is_some()).text }</b> }) }
                { fact("Which means", html! { { waits(change) } }) }
                if let Some(reason) = &change.closing_reason {
                    { fact("Ended because", html! { { words::sentence(reason) } }) }
                }
                { fact("Change", html! { <code>{ change.id.to_string() }</code> }) }
                { fact("As of", html! { { format!("event {}, version {}", format::number(change.position), change.version) } }) }
                { fact("Report made", html! { { utc(clock::now()) } }) }
                if let Some(id) = change.rollback_of {
                    { fact("It undoes", html! { <code>{ id.to_string() }</code> }) }
                }
                if let Some(id) = change.rolled_back_by {
                    { fact("Rolled back by", html! { <code>{ id.to_string() }</code> }) }
                }
            </dl>
            <p class="report-note">{ "All times are in UTC." }</p>
        </header>
    }
}

fn fact(label: &'static str, value: Html) -> Html {
    html! { <div><dt>{ label }</dt><dd>{ value }</dd></div> }
}

fn section(title: &'static str, testid: &'static str, body: Html) -> Html {
    html! { <section data-testid={testid}><h2>{ title }</h2>{ body }</section> }
}

fn table(columns: &[&'static str], rows: Vec<Html>) -> Html {
    html! {
        <div class="report-frame" tabindex="0" role="region" aria-label={columns.join(", ")}>
            <table>
                <thead><tr>{ for columns.iter().map(|column| html! { <th scope="col">{ *column }</th> }) }</tr></thead>
                <tbody>{ for rows }</tbody>
            </table>
        </div>
    }
}

fn request(change: &ChangeView) -> Html {
    let targets = change.targets.iter().take(TARGETS).map(|id| {
        html! { <li>{ name(change, id.0) }{ " " }<code class="faint">{ id.to_string() }</code></li> }
    });
    let left_out = target_count(change).saturating_sub(TARGETS);
    let editors: Vec<String> = change.editors.iter().map(|person| name(change, person.0)).collect();
    section(
        "Request",
        "report-request",
        html! {
            <dl class="report-facts">
                { fact("Requested by", html! { { name(change, change.requester.0) } }) }
                { fact("Drafted", html! { { utc(change.created_at) } }) }
                if !editors.is_empty() { { fact("Edited by", html! { { editors.join(", ") } }) } }
                { fact("Kind", html! { <code>{ &change.change_type }</code> }) }
                { fact("Connection", html! { { name(change, change.connection_id.0) } }) }
                { fact("Reason", html! { <span class="report-text">{ &change.reason }</span> }) }
                if let Some(ticket) = &change.ticket { { fact("Ticket", html! { { ticket } }) } }
                { fact("Parameters", html! { <pre>{ format::pretty(&change.parameters) }</pre> }) }
                { fact("Targets", html! {
                    <ul>
                        { for targets }
                        if left_out > 0 { <li>{ format!("and {left_out} more") }</li> }
                    </ul>
                }) }
            </dl>
        },
    )
}

fn plan(change: &ChangeView) -> Html {
    let Some(plan) = &change.plan else {
        return section("Plan", "report-plan", html! { <p>{ "It was not planned." }</p> });
    };
    let diff = plan.diff.iter().map(|line| {
        html! {
            <tr>
                <td>{ &line.target }</td><td>{ format::humanise(&line.field) }</td>
                <td><pre>{ format::json(&line.before) }</pre></td><td><pre>{ format::json(&line.after) }</pre></td>
            </tr>
        }
    });
    let checks = plan.checks.iter().map(|check| {
        html! { <tr><td>{ if check.ok { "passed" } else { "FAILED" } }</td><td>{ &check.name }</td><td>{ &check.detail }</td></tr> }
    });
    let (way_back, why) = words::reversibility(&plan.reversibility);
    section(
        "Plan",
        "report-plan",
        html! {
            <>
                <dl class="report-facts">
                    { fact("Digest", html! { <code data-testid="report-digest">{ &plan.digest }</code> }) }
                    { fact("Read", html! { { utc(plan.computed_at) } }) }
                    { fact("Way back", html! { { format!("{}. {why}", way_back.text) } }) }
                    if u64::from(plan.step_count) > wide(plan.steps.len()) {
                        { fact("Steps", html! { { format!("{}; named are the first {}", plan.step_count, plan.steps.len()) } }) }
                    }
                </dl>
                if plan.diff.is_empty() {
                    <p>{ "Nothing that can be compared changes." }</p>
                } else {
                    { table(&["Target", "Field", "Before", "After"], diff.collect()) }
                }
                if !plan.checks.is_empty() {
                    <h3>{ "Checks" }</h3>
                    { table(&["Result", "Check", "Found"], checks.collect()) }
                }
            </>
        },
    )
}

fn factors(risk: &Risk) -> Html {
    let rows = risk.factors.iter().map(|factor| {
        html! { <tr><td>{ words::factor(&factor.name) }</td><td class="number">{ format!("{:+.1}", factor.value) }</td><td>{ &factor.because }</td></tr> }
    });
    let says =
        format!("{} of 10: {}.", risk.score, words::risk_level(risk.level).text.to_lowercase());
    section(
        "Risk",
        "report-risk",
        html! { <><p>{ says }</p>{ table(&["Factor", "Adds", "Because"], rows.collect()) }</> },
    )
}

fn approvals(change: &ChangeView) -> Html {
    let row = |who: String, at: Timestamp, what: &str, comment: &str, digest: &str| {
        html! {
            <tr>
                <td>{ who }</td><td class="nowrap">{ utc(at) }</td><td>{ what }</td>
                <td class="report-text">{ comment }</td><td><code class="hash">{ digest }</code></td>
            </tr>
        }
    };
    let approved = change.approvals.iter().map(|given: &ApprovalView| {
        let mut who = name(change, given.by.0);
        if let Some(delegator) = given.delegator {
            who = format!("{who} for {}", name(change, delegator.0));
        }
        let what = if given.superseded { "approved an earlier plan" } else { "approved" };
        row(who, given.at, what, given.comment.as_deref().unwrap_or_default(), &given.digest)
    });
    let glass = change.glass.iter().map(|broken| {
        let what =
            if broken.superseded { "broke glass for an earlier plan" } else { "broke glass" };
        row(name(change, broken.by.0), broken.at, what, &broken.justification, &broken.digest)
    });
    let passed = change.overrides.iter().map(|given| {
        let what = if given.freeze.is_some() {
            "let it pass a freeze"
        } else {
            "let it run outside of windows"
        };
        row(name(change, given.by.0), given.at, what, &given.justification, "")
    });
    let reviewed = change.review.iter().map(|review| {
        row(name(change, review.by.0), review.at, "reviewed it afterwards", &review.comment, "")
    });
    let rows: Vec<Html> = approved.chain(glass).chain(passed).chain(reviewed).collect();
    let needed = match change.approvals_needed {
        0 => "No number of approvals is set for it.".to_owned(),
        needed => {
            format!("{} needed.", format::count(u64::from(needed), "approval is", "approvals are"))
        }
    };
    section(
        "Approvals",
        "report-approvals",
        html! {
            <>
                <p>{ needed }</p>
                if rows.is_empty() {
                    <p>{ "There are none." }</p>
                } else {
                    { table(&["Who", "When", "What", "Comment", "Digest of the plan"], rows) }
                }
            </>
        },
    )
}

fn run(change: &ChangeView, orders: &[HostOrderView], is_host: bool) -> Html {
    let Some(run) = &change.run else {
        return section(
            "Run",
            "report-run",
            html! {
                <p>{ if change.rollout.is_some() {
                    "It is a rollout: each target has a run of its own, in the events below."
                } else { "It has not run." } }</p>
            },
        );
    };
    let steps = run.steps.iter().map(|step| {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "—".to_owned(), utc);
        html! {
            <tr>
                <td class="number">{ step.no + 1 }</td><td>{ &step.target }</td><td><code>{ &step.action }</code></td>
                <td>{ words::step_state(step.state).text }
                    if let Some(reason) = &step.reason { <p>{ words::sentence(reason) }</p> }
                    { for step.late.iter().map(|late| html! { <p>{ late }</p> }) }</td>
                <td class="nowrap">{ time(step.started_at) }</td><td class="nowrap">{ time(step.finished_at) }</td>
            </tr>
        }
    });
    let read: Vec<Html> = run.steps.iter().flat_map(fields).collect();
    section(
        "Run",
        "report-run",
        html! {
            <>
                <dl class="report-facts">
                    { fact("Run", html! { <code>{ run.id.to_string() }</code> }) }
                    { fact("Began", html! { { utc(run.started_at) } }) }
                    { fact("Ended", html! { { run.finished_at.map_or_else(|| "not yet".to_owned(), utc) } }) }
                    if let Some(reason) = &run.reason { { fact("Because", html! { { words::sentence(reason) } }) } }
                </dl>
                { table(&["Step", "Target", "Action", "State", "Began", "Ended"], steps.collect()) }
                <h3>{ "What was read from the targets" }</h3>
                if read.is_empty() {
                    <p>{ "Nothing was read back." }</p>
                } else {
                    { table(&["Step", "Field", "Captured before", "Read back after"], read) }
                }
                if is_host { { receipts(change, orders) } }
            </>
        },
    )
}

fn fields(step: &StepView) -> Vec<Html> {
    let mut names: Vec<&str> = Vec::new();
    for field in step.before.iter().chain(&step.after) {
        if !names.contains(&field.name.as_str()) {
            names.push(&field.name);
        }
    }
    let value = |fields: &[nexplane_core::plan::Field], name: &str| {
        let found = fields.iter().find(|field| field.name == name);
        found.map_or_else(|| "—".to_owned(), |field| format::json(&field.value))
    };
    names
        .into_iter()
        .map(|name| {
            let after = if step.after.is_empty() {
                "not read back".to_owned()
            } else {
                value(&step.after, name)
            };
            html! {
                <tr>
                    <td class="number">{ step.no + 1 }</td><td>{ format::humanise(name) }</td>
                    <td><pre>{ value(&step.before, name) }</pre></td><td><pre>{ after }</pre></td>
                </tr>
            }
        })
        .collect()
}

/// What the agent of a host signed.
fn receipts(change: &ChangeView, orders: &[HostOrderView]) -> Html {
    let ours = orders.iter().filter(|order| order.change == Some(change.id));
    let rows: Vec<Html> = ours
        .flat_map(|order| order.receipts.iter().map(move |receipt| (order, receipt)))
        .map(|(order, receipt)| {
            html! {
                <tr>
                    <td class="number">{ format::number(order.seq) }</td>
                    <td class="number">{ format::number(receipt.number) }</td>
                    <td class="nowrap">{ utc(receipt.received_at) }</td>
                    <td>{ words::receipt(receipt.proof.as_ref()).text }</td>
                    <td><code class="hash">{ &receipt.hash }</code></td>
                </tr>
            }
        })
        .collect();
    html! {
        <>
            <h3>{ "Receipts of the host's agent" }</h3>
            if rows.is_empty() {
                <p>{ "None of the host's newest 200 orders is for this change." }</p>
            } else {
                { table(&["Order", "Receipt", "Received", "Checked just now", "SHA-256 of what was signed"], rows) }
            }
        </>
    }
}

fn happened(events: &Rc<Vec<EventView>>) -> Html {
    let rows = events.iter().map(|event| {
        html! {
            <tr data-testid="report-event">
                <td class="number">{ format::number(event.position) }</td><td class="nowrap">{ utc(event.at) }</td>
                <td>{ event_list::name(event) }</td><td><code>{ &event.kind }</code></td>
                <td>{ format::readable(&event.summary) }</td>
            </tr>
        }
    });
    section(
        "Events",
        "report-events",
        table(&["Position", "When", "Who", "Type", "What"], rows.collect()),
    )
}

/// How many events a checkpoint is over.
fn size(note: &str) -> Option<u64> {
    let note = Note::parse(note.as_bytes()).ok()?;
    note.text().parse::<Checkpoint>().ok().map(|checkpoint| checkpoint.size())
}

fn verification(events: &[EventView], seal: &Seal) -> Html {
    let last = events.iter().map(|event| event.position).max().unwrap_or_default();
    let says = match &seal.note {
        Ok(note) => match size(note) {
            Some(size) if size > last => format!(
                "The checkpoint below is over the first {} events of the log, all of the events above among them. That \
                 they are in it is shown by verifying them, not by this paper.",
                format::number(size)
            ),
            Some(size) => format!(
                "The newest checkpoint is over the first {} events of the log: not all of the events above are in it \
                 yet. Make this report again in a moment.",
                format::number(size)
            ),
            None => "The newest checkpoint cannot be read by this page.".to_owned(),
        },
        Err(error) => error.detail(),
    };
    let key = match &seal.key {
        Ok(key) => key.trim().to_owned(),
        Err(error) => error.detail(),
    };
    section(
        "Verification",
        "report-verification",
        html! {
            <>
                <p data-testid="report-seal">{ says }</p>
                if let Ok(note) = &seal.note {
                    <pre data-testid="report-checkpoint">{ note }</pre>
                }
                <p>{ "The log's key, as this server shows it. Compare it with one that you have from elsewhere: " }</p>
                <pre>{ key }</pre>
                <p>{ "Keep the checkpoint as checkpoint.txt and the key as log.vkey, and verify on a machine that you trust:" }</p>
                <pre data-testid="report-verify">{ verify(events) }</pre>
            </>
        },
    )
}

/// The commands: the whole log, and the last event alone.
fn verify(events: &[EventView]) -> String {
    let whole = "nexplane audit export --dsn postgresql://auditor@… --out evidence\n\
                 nexplane audit verify evidence --key log.vkey --checkpoint checkpoint.txt";
    match events.iter().map(|event| event.position).max() {
        Some(last) => format!(
            "{whole}\n\nnexplane audit proof {last} --dsn postgresql://auditor@… > proof.json\n\
             nexplane audit verify proof.json --key log.vkey"
        ),
        None => whole.to_owned(),
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_checkpoint_has_no_size() {
        assert_eq!(size("not a note"), None);
        assert_eq!(size(""), None);
    }

    #[test]
    fn without_events_there_is_no_proof_to_ask_for() {
        assert!(!verify(&[]).contains("proof"));
        assert!(verify(&[]).contains("nexplane audit verify"));
    }
}
