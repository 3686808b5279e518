//! Hosts with an agent: how they are, and the way to enrol another one.

pub mod enrol;
pub mod revoke;

use std::collections::BTreeSet;

use nexplane_core::actor::Role;
use nexplane_core::api::{HostCounts, HostView};
use nexplane_core::id::HostId;
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;
use yew_router::prelude::*;

use self::enrol::Enrol;
use self::revoke::Revoke;
use crate::component::badge::Badge;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::SearchInput;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::{Time, use_now};
use crate::live::{News, use_news};
use crate::resource::{List, use_list, use_resource};
use crate::route::Route;
use crate::session::{has, use_me};
use crate::{api, format, query, words};

/// When more rows than this have changed at once, the list is read instead of each.
const MOST_ROWS: usize = 20;

/// The version of this dashboard, which is that of the control plane it came from.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The filters, as they stand in the address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Filter {
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
}

impl Filter {
    /// Whether a host that changed belongs to this list.
    fn admits(&self, host: &HostView) -> bool {
        (self.status.is_empty() || self.status == host.status)
            && host.hostname.to_lowercase().contains(&self.q.trim().to_lowercase())
    }
}

#[derive(Clone, PartialEq)]
enum Open {
    Nothing,
    Enrol,
    Revoke(Box<HostView>),
}

#[component]
pub fn Hosts() -> Html {
    let filter =
        use_location().and_then(|location| location.query::<Filter>().ok()).unwrap_or_default();
    let list = use_list::<HostView>(Some(query::with(
        "/hosts",
        &[("status", &filter.status), ("q", &filter.q), ("limit", "50")],
    )));
    let counts =
        use_resource::<HostCounts>(Some(query::with("/hosts/summary", &[("q", &filter.q)])));
    let open = use_state(|| Open::Nothing);
    let admin = has(use_me().as_deref(), Role::Admin);
    {
        let (list, counts, filter) = (list.clone(), counts.clone(), filter.clone());
        let on_news = Callback::from(move |news: News| {
            counts.reload_at(news.position);
            follow(&list, &filter, &news);
        });
        use_news(vec!["hosts".to_owned()], on_news);
    }
    let set = |new: Open| {
        let open = open.setter();
        Callback::from(move |_: MouseEvent| open.set(new.clone()))
    };
    let close = {
        let open = open.setter();
        Callback::from(move |()| open.set(Open::Nothing))
    };
    let revoke = {
        let open = open.setter();
        Callback::from(move |host| open.set(Open::Revoke(Box::new(host))))
    };
    let button = if admin {
        html! {
            <button type="button" class="button primary" onclick={set(Open::Enrol)} data-testid="enrol-host">
                <Icon glyph={Glyph::Plus} />{ "Enrol a host" }
            </button>
        }
    } else {
        html! {
            <p class="faint small" data-testid="hosts-why-not">{ "Only an administrator enrols and revokes hosts." }</p>
        }
    };
    html! {
        <>
            <Head title="Hosts" lead="Machines with an agent. They call in; nothing connects to them.">
                { button.clone() }
            </Head>
            <Filters filter={filter.clone()} counts={counts.value.as_deref().copied()} />
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            { body(&list, &filter, &revoke, admin, button) }
            {
                match &*open {
                    Open::Nothing => html! {},
                    Open::Enrol => html! { <Enrol on_close={close} /> },
                    Open::Revoke(host) => html! {
                        <Revoke host={(**host).clone()} on_close={close} on_done={
                            let (list, counts) = (list.clone(), counts.clone());
                            move |host: HostView| {
                                counts.reload();
                                list.edit(move |rows| merge(rows, host, false));
                            }
                        } />
                    },
                }
            }
        </>
    }
}

/// Reads what changed: row by row as long as it is little, so that pages that were read stay on the screen.
fn follow(list: &List<HostView>, filter: &Filter, news: &News) {
    let shown: BTreeSet<Uuid> =
        list.items.iter().flat_map(|rows| rows.iter()).map(|row| row.id.0).collect();
    let (known, others): (Vec<Uuid>, Vec<Uuid>) =
        news.ids.iter().copied().partition(|id| shown.contains(id));
    if news.others || known.len() > MOST_ROWS {
        return list.reload_at(news.position);
    }
    let one_by_one = others.len() <= MOST_ROWS;
    if !one_by_one {
        list.refresh_at(news.position, |one, other| order(one).cmp(&order(other)));
    }
    for id in known.into_iter().chain(others.into_iter().filter(|_| one_by_one)) {
        let (list, filter, position) = (list.clone(), filter.clone(), news.position);
        spawn_local(async move {
            // A row that cannot be read stays as it was.
            if let Ok(host) = api::get_at::<HostView>(&format!("/hosts/{id}"), position).await {
                let (admitted, more) = (filter.admits(&host), list.more);
                list.edit(move |rows| {
                    // What comes after the last row that was read comes with the next page.
                    let is_behind = rows.last().is_none_or(|last| order(&host) < order(last));
                    merge(rows, host, admitted && !(is_behind && more));
                });
            }
        });
    }
}

/// The list falls along it.
fn order(host: &HostView) -> (Timestamp, HostId) {
    (host.enrolled_at, host.id)
}

/// Puts a host in its place, unless a newer state of it is there; one that is not there only to `insert` it.
fn merge(rows: &mut Vec<HostView>, host: HostView, insert: bool) {
    match rows.iter_mut().find(|row| row.id == host.id) {
        Some(row) if row.version <= host.version => *row = host,
        Some(_) => {}
        None if insert => {
            let place = rows.partition_point(|row| order(row) > order(&host));
            rows.insert(place, host);
        }
        None => {}
    }
}

#[derive(Properties, PartialEq)]
struct FiltersProps {
    filter: Filter,
    /// Of what fits the search, whatever its status.
    counts: Option<HostCounts>,
}

#[component]
fn Filters(props: &FiltersProps) -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let set = |filter: Filter| {
        let navigator = navigator.clone();
        // Of two plain texts a query string can always be made.
        move || drop(navigator.replace_with_query(&Route::Hosts, filter.clone()))
    };
    let FiltersProps { filter, counts } = props;
    let on_search = {
        let (navigator, filter) = (navigator.clone(), filter.clone());
        Callback::from(move |q: String| {
            drop(navigator.replace_with_query(&Route::Hosts, Filter { q, ..filter.clone() }));
        })
    };
    let HostCounts { online, offline, locked, revoked } = counts.unwrap_or_default();
    let choices = [
        ("", "All", online + offline + locked + revoked),
        ("online", "Online", online),
        ("offline", "Offline", offline),
        ("locked", "Locked", locked),
        ("revoked", "Revoked", revoked),
    ];
    html! {
        <div class="filters" role="search">
            <SearchInput value={filter.q.clone()} placeholder="Search host name" {on_search} testid="hosts-search" />
            <div class="choices" role="group" aria-label="Status">
                { for choices.into_iter().map(|(status, word, count)| {
                    let choose = set(Filter { status: status.to_owned(), q: filter.q.clone() });
                    html! {
                        <button type="button" class="button toggle" aria-pressed={(filter.status == status).to_string()}
                            onclick={move |_| choose()} data-testid="hosts-status" data-status={status}>
                            { word }
                            if counts.is_some() {
                                <span class="choice-count" data-testid={format!("hosts-count-{word}").to_lowercase()}>
                                    { format::number(count) }
                                </span>
                            }
                        </button>
                    }
                }) }
            </div>
        </div>
    }
}

fn body(
    list: &List<HostView>,
    filter: &Filter,
    revoke: &Callback<HostView>,
    admin: bool,
    button: Html,
) -> Html {
    match &list.items {
        None if list.error.is_none() => html! { <Skeleton lines={6} /> },
        None => html! {},
        Some(hosts) if hosts.is_empty() && *filter == Filter::default() => html! {
            <Empty glyph={Glyph::Hosts} title="No host is enrolled" testid="hosts-empty">
                <p>{ "Enrolling takes one command on the host. Its agent then waits for signed orders \
                      and does only what the host's owner allows." }</p>
                { button }
            </Empty>
        },
        Some(hosts) if hosts.is_empty() => html! {
            <Empty glyph={Glyph::Search} title="No host fits" testid="hosts-none">
                <Link to={Route::Hosts} class="button">{ "Show all hosts" }</Link>
            </Empty>
        },
        Some(hosts) => html! {
            <>
                <div class="table-frame" aria-busy={list.loading.to_string()}>
                    <table class="table hosts" data-testid="host-list">
                        <caption class="visually-hidden">{ "Hosts, the one that enrolled last first" }</caption>
                        <thead><tr>
                            <th scope="col">{ "Host" }</th>
                            <th scope="col">{ "Status" }</th>
                            <th scope="col">{ "Since" }</th>
                            <th scope="col">{ "Agent" }</th>
                            <th scope="col">{ "Certificate" }</th>
                            <th scope="col">{ "Owner's policy" }</th>
                            if admin {
                                <th scope="col" class="col-buttons">
                                    <span class="visually-hidden">{ "What can be done" }</span>
                                </th>
                            }
                        </tr></thead>
                        <tbody>
                            { for hosts.iter().map(|host| html! {
                                <Row key={host.id.to_string()} host={host.clone()} on_revoke={revoke.clone()} {admin} />
                            }) }
                        </tbody>
                    </table>
                </div>
                if list.more {
                    <button type="button" class="button wide" disabled={list.loading}
                        onclick={let list = list.clone(); move |_| list.load_more()} data-testid="load-more">
                        { "Load more" }
                    </button>
                }
            </>
        },
    }
}

#[derive(Properties, PartialEq)]
struct RowProps {
    host: HostView,
    on_revoke: Callback<HostView>,
    admin: bool,
}

#[component]
fn Row(props: &RowProps) -> Html {
    let host = &props.host;
    let now = use_now();
    let onclick = {
        let (on_revoke, host) = (props.on_revoke.clone(), host.clone());
        Callback::from(move |_: MouseEvent| on_revoke.emit(host.clone()))
    };
    html! {
        <tr data-testid="host-row" data-status={host.status.clone()} data-id={host.id.to_string()}>
            <td class="col-main">
                <Link to={Route::Host { id: host.id }} row=true class="row-link" testid="host-link">{ &host.hostname }</Link>
                <p class="row-waits" data-testid="host-reason">{ words::host_presence(host, now) }</p>
            </td>
            <td><Badge label={words::host_status(&host.status)} testid="host-status" value={host.status.clone()} /></td>
            <td data-label="since" class="nowrap"><Time at={host.status_since} relative=true /></td>
            <td data-label="agent" class="nowrap"><Agent host={host.clone()} /></td>
            <td data-label="certificate" class="nowrap">{ certificate(host, now) }</td>
            <td data-label="policy">{ policy(host) }</td>
            if props.admin {
                <td class="col-buttons">
                    if host.status != "revoked" {
                        <button type="button" class="button small danger" {onclick} data-testid="host-revoke"
                            aria-label={format!("Revoke {}", host.hostname)}>
                            { "Revoke" }
                        </button>
                    }
                </td>
            }
        </tr>
    }
}

#[derive(Properties, PartialEq)]
pub struct AgentProps {
    pub host: HostView,
}

/// The agent's version, and whether it is behind.
#[component]
pub fn Agent(props: &AgentProps) -> Html {
    let host = &props.host;
    html! {
        <>
            <code>{ &host.agent_version }</code>
            if host.agent_is_behind {
                <span class="tag" data-testid="host-behind"
                    title={format!("The control plane is {VERSION}. On the host: nexplane-agent install, with the new program.")}>
                    { "behind" }
                </span>
            }
        </>
    }
}

fn certificate(host: &HostView, now: Timestamp) -> Html {
    match host.certificate_expires_at {
        Some(_) if host.status == "revoked" => html! { <span class="faint">{ "refused" }</span> },
        Some(at) if at < now => html! { <>{ "ended " }<Time at={at} /></> },
        Some(at) => html! { <>{ "until " }<Time at={at} /></> },
        None => html! { "—" },
    }
}

fn policy(host: &HostView) -> Html {
    match &host.policy_hash {
        Some(hash) => html! { <code title={hash.clone()}>{ format::short_digest(hash) }</code> },
        None => html! { <span class="faint">{ "no file" }</span> },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u128, version: u64) -> HostView {
        let at = Timestamp::from_micros(i64::try_from(n).unwrap() * 1_000_000);
        HostView {
            id: HostId(Uuid::from_u128(n)),
            hostname: format!("Web-{n}"),
            status: "online".to_owned(),
            agent_version: VERSION.to_owned(),
            agent_is_behind: false,
            policy_hash: None,
            policy_changed_at: None,
            certificate_key_hash: String::new(),
            certificate_issued_at: at,
            certificate_expires_at: None,
            connection_id: Uuid::nil().into(),
            asset_id: None,
            enrolled_at: at,
            status_since: at,
            reason: None,
            revoked_by: None,
            revoked_by_name: None,
            version,
        }
    }

    #[test]
    fn a_host_comes_into_its_place_and_never_back_to_an_older_state() {
        let mut rows = vec![host(4, 1), host(2, 5)];
        merge(&mut rows, host(3, 1), true);
        merge(&mut rows, host(9, 1), false);
        merge(&mut rows, host(2, 4), true);
        merge(&mut rows, host(4, 2), true);
        let shown: Vec<_> = rows.iter().map(|row| (row.id.0.as_u128(), row.version)).collect();
        assert_eq!(shown, [(4, 2), (3, 1), (2, 5)]);
    }

    #[test]
    fn filters_admit_what_the_server_would() {
        let filter = |status: &str, q: &str| Filter { status: status.to_owned(), q: q.to_owned() };
        assert!(filter("", "").admits(&host(1, 1)) && filter("online", " wEB").admits(&host(1, 1)));
        assert!(
            !filter("offline", "").admits(&host(1, 1)) && !filter("", "db").admits(&host(1, 1))
        );
    }
}
