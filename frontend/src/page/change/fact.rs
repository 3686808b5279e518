//! What was asked for, by whom, on what.

use std::rc::Rc;

use nexplane_core::api::ChangeView;
use yew::prelude::*;

use crate::component::change_table::{name, target_count};
use crate::component::fields::Fields;
use crate::component::link::Link;
use crate::component::time::Time;
use crate::route::Route;
use crate::words;

/// Targets that are named; of a rollout there are many.
const SHOWN: usize = 20;

#[derive(Properties, PartialEq)]
pub struct FactsProps {
    pub change: Rc<ChangeView>,
}

#[component]
pub fn Facts(props: &FactsProps) -> Html {
    let change = &props.change;
    let editors: Vec<String> = change
        .editors
        .iter()
        .filter(|editor| **editor != change.requester)
        .map(|editor| name(change, editor.0))
        .collect();
    html! {
        <section class="panel order-2" aria-labelledby="facts-title">
            <h2 id="facts-title">{ "Request" }</h2>
            <p class="reason" data-testid="change-reason">{ &change.reason }</p>
            <dl class="facts">
                <div><dt>{ "Kind" }</dt><dd>
                    { words::change_type(&change.change_type) }
                    <p class="small"><code>{ &change.change_type }</code></p>
                </dd></div>
                <div><dt>{ if change.targets.len() == 1 { "Target" } else { "Targets" } }</dt><dd>
                    <ul class="plain">
                        { for change.targets.iter().take(SHOWN).map(|id| html! {
                            <li><Link to={Route::Asset { id: *id }} testid="change-target">
                                { name(change, id.0) }
                            </Link></li>
                        }) }
                        if target_count(change) > SHOWN {
                            <li class="faint">{ format!("and {} more", target_count(change) - SHOWN) }</li>
                        }
                    </ul>
                </dd></div>
                <div><dt>{ "Connection" }</dt><dd>{ name(change, change.connection_id.0) }</dd></div>
                <Fields value={change.parameters.clone()} />
                <div><dt>{ "Requested by" }</dt><dd>{ name(change, change.requester.0) }</dd></div>
                if !editors.is_empty() {
                    <div><dt>{ "Edited by" }</dt><dd>{ editors.join(", ") }</dd></div>
                }
                if let Some(ticket) = &change.ticket {
                    <div><dt>{ "Ticket" }</dt><dd>{ linked(ticket) }</dd></div>
                }
                if let Some(reason) = &change.closing_reason {
                    <div><dt>{ "Ended because" }</dt><dd data-testid="closing-reason">{ words::sentence(reason) }</dd></div>
                }
                <div><dt>{ "Drafted" }</dt><dd><Time at={change.created_at} /></dd></div>
                <div><dt>{ "Id" }</dt><dd><code class="wrap-any">{ change.id.to_string() }</code></dd></div>
            </dl>
        </section>
    }
}

/// A web address becomes a link; nothing else does, so that no other scheme can be clicked.
fn linked(ticket: &str) -> Html {
    if ticket.starts_with("https://") || ticket.starts_with("http://") {
        let href = ticket.to_owned();
        html! { <a {href} target="_blank" rel="noopener noreferrer" class="wrap-any">{ ticket }</a> }
    } else {
        html! { { ticket } }
    }
}
