//! Seals, agents, lines, and discoveries that failed.

use nexplane_core::api::{AgentsView, OperationsView, SealView};
use yew::prelude::*;

use super::subject;
use crate::component::link::Link;
use crate::component::time::Time;
use crate::format;
use crate::route::Route;

pub fn seal(seal: &SealView, may_audit: bool) -> Html {
    let position = |position: u64| {
        let text = format::number(position);
        if may_audit {
            html! { <Link to={Route::Event { position }} testid="seal-position">{ text }</Link> }
        } else {
            html! { { text } }
        }
    };
    html! {
        <section class="panel" aria-labelledby="seal-title" data-testid="seal" data-unsealed={seal.unsealed.to_string()}>
            <h2 id="seal-title">{ "Seal of the log" }</h2>
            <dl class="facts">
                <div><dt>{ "Events" }</dt><dd>{ format::number(seal.events) }</dd></div>
                <div><dt>{ "Sealed up to" }</dt><dd>
                    if let Some(sealed) = seal.sealed { { position(sealed) } } else { { "nothing yet" } }
                    if let Some(at) = seal.sealed_at {
                        <p class="faint small"><Time {at} relative=true /></p>
                    }
                </dd></div>
                <div><dt>{ "Not sealed" }</dt><dd>
                    { format::number(seal.unsealed) }
                    if let Some(at) = seal.unsealed_since {
                        <p class="faint small">{ "the first of them " }<Time {at} relative=true /></p>
                    }
                </dd></div>
                { for seal.witnesses.iter().map(|witness| html! {
                    <div><dt>{ format!("Witness {}", witness.name) }</dt><dd>
                        { "up to " }{ position(witness.position) }
                        <p class="faint small"><Time at={witness.at} relative=true /></p>
                    </dd></div>
                }) }
            </dl>
            if seal.witnesses.is_empty() {
                <p class="faint small">{ "No witness has cosigned it." }</p>
            }
            if !seal.here {
                <p class="faint small">{ "Another server seals it." }</p>
            }
        </section>
    }
}

pub fn agents(agents: &AgentsView) -> Html {
    let shown = agents.behind_hosts.len() as u64;
    html! {
        <section class="panel" aria-labelledby="agents-title" data-testid="agents" data-behind={agents.behind.to_string()}>
            <h2 id="agents-title">{ "Agents by version" }</h2>
            if agents.versions.is_empty() {
                <p class="faint small">{ "No host is enrolled. " }<Link to={Route::Hosts}>{ "Enrol one" }</Link></p>
            } else {
                <dl class="facts">
                    { for agents.versions.iter().map(|row| html! {
                        <div key={row.version.clone()} data-testid="agent-version">
                            <dt><code>{ &row.version }</code>
                                if row.behind { { " " }<span class="tag">{ "behind" }</span> }
                            </dt>
                            <dd><Link to={Route::Hosts}>{ format::count(row.hosts, "host", "hosts") }</Link>
                                <p class="faint small">{ format!("{} online", format::number(row.online)) }</p></dd>
                        </div>
                    }) }
                </dl>
            }
            if agents.behind > 0 {
                <p class="small">{ format!("Older than this server ({}):", agents.current) }</p>
                <ul class="behind" data-testid="agents-behind">
                    { for agents.behind_hosts.iter().map(|host| html! { <li>{ subject(host) }</li> }) }
                </ul>
                if agents.behind > shown {
                    <p class="faint small">{ format!("and {} more", format::number(agents.behind - shown)) }</p>
                }
            }
        </section>
    }
}

pub fn lines(view: &OperationsView) -> Html {
    html! {
        <section class="panel" aria-labelledby="lines-title">
            <h2 id="lines-title">{ "Lines to this server" }</h2>
            <dl class="facts">
                <div><dt>{ "Open pages and programs" }</dt><dd data-testid="live-connections">{ format::number(view.live_connections) }</dd></div>
                <div><dt>{ "Agents that listen" }</dt><dd>{ format::number(view.agent_polls) }</dd></div>
            </dl>
        </section>
    }
}

pub fn discoveries(view: &OperationsView) -> Html {
    if view.discoveries.is_empty() {
        return html! {};
    }
    let more = view.discoveries_in_all.saturating_sub(view.discoveries.len() as u64);
    html! {
        <section class="panel flush" aria-labelledby="discoveries-title">
            <h2 id="discoveries-title">{ "Discoveries that failed" }</h2>
            <div class="table-frame inner">
                <table class="table" data-testid="discovery-list">
                    <thead><tr>
                        <th scope="col">{ "Connection" }</th><th scope="col">{ "Why" }</th>
                        <th scope="col">{ "Last well" }</th><th scope="col">{ "Next" }</th>
                    </tr></thead>
                    <tbody>{ for view.discoveries.iter().map(|row| html! {
                        <tr key={row.connection.to_string()} data-testid="discovery-row">
                            <td class="nowrap"><Link to={Route::Connection { id: row.connection }}>{ &row.name }</Link></td>
                            <td class="wrap-any">{ &row.error }</td>
                            <td class="nowrap">if let Some(at) = row.discovered_at { <Time {at} relative=true /> } else { { "never" } }</td>
                            <td class="nowrap">if let Some(at) = row.next_at { <Time {at} /> } else { { "when somebody asks" } }</td>
                        </tr>
                    }) }</tbody>
                </table>
            </div>
            if more > 0 {
                <p class="faint panel-note">{ format!("And {} more.", format::number(more)) }</p>
            }
        </section>
    }
}
