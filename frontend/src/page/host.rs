//! One host: who it is, whether its agent is there, what it was ordered and what it proved, and what can be done.

mod order;
mod side;

use std::cmp::Ordering;
use std::rc::Rc;

use nexplane_core::actor::Role;
use nexplane_core::api::{AssetView, ChangeView, EventView, HostView, Page};
use nexplane_core::id::HostId;
use yew::prelude::*;

use self::order::Orders;
use self::side::{Certificate, Identity, Policy};
use super::hosts::enrol::Enrol;
use super::hosts::revoke::Revoke;
use super::hosts::{Agent, VERSION};
use crate::component::badge::Badge;
use crate::component::change_table::ChangeTable;
use crate::component::event_list::EventList;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::{Time, use_now};
use crate::live::{News, use_news};
use crate::resource::{List, Resource, use_list, use_resource};
use crate::route::Route;
use crate::session::{has, use_me};
use crate::{query, words};

/// Changes that are shown here; all of them are a page of their own.
const CHANGES: &str = "10";

#[derive(Properties, PartialEq)]
pub struct HostProps {
    pub id: HostId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Enrol,
    Revoke,
}

#[component]
pub fn Host(props: &HostProps) -> Html {
    let id = props.id;
    let host = use_resource::<HostView>(Some(format!("/hosts/{id}")));
    let history = use_list::<EventView>(Some(format!("/hosts/{id}/history?limit=20")));
    let asset_id = host.value.as_ref().and_then(|host| host.asset_id);
    let asset = use_resource::<AssetView>(asset_id.map(|asset| format!("/assets/{asset}")));
    let changes = use_resource::<Page<ChangeView>>(asset_id.map(|asset| {
        query::with("/change-requests", &[("target", &asset.to_string()), ("limit", CHANGES)])
    }));
    let open = use_state_eq(|| Open::Nothing);
    {
        let (host, history) = (host.clone(), history.clone());
        let on_news = Callback::from(move |news: News| {
            if news.concern(id.0) {
                host.reload_at(news.position);
                history.refresh_at(news.position, by_position);
            }
        });
        use_news(vec!["hosts".to_owned()], on_news);
    }
    {
        let (host, asset) = (host.clone(), asset.clone());
        let on_news = Callback::from(move |news: News| match asset_id {
            // Discovery is about to find it.
            None => host.reload_at(news.position),
            Some(id) if news.concern(id.0) => {
                host.reload_at(news.position);
                asset.reload_at(news.position);
            }
            Some(_) => {}
        });
        use_news(vec!["assets".to_owned()], on_news);
    }
    {
        let changes = changes.clone();
        use_news(
            vec!["changes".to_owned()],
            Callback::from(move |news: News| changes.reload_at(news.position)),
        );
    }
    let Some(view) = host.value.clone() else {
        return match host.error.clone() {
            Some(error) => html! { <ProblemNote {error} retry={move |()| host.reload()} /> },
            None => html! { <Skeleton lines={12} /> },
        };
    };
    let close = {
        let open = open.setter();
        Callback::from(move |()| open.set(Open::Nothing))
    };
    let on_open = {
        let open = open.setter();
        Callback::from(move |what| open.set(what))
    };
    html! {
        <article class="host" data-testid="host" data-id={id.to_string()} data-status={view.status.clone()}>
            { head(&view) }
            <Next host={Rc::clone(&view)} {on_open} />
            <div class="split">
                <div class="stack">
                    <Orders host={id} />
                    { changes_panel(&view, &changes) }
                    { events_panel(&history) }
                </div>
                <div class="stack side">
                    <Identity host={Rc::clone(&view)} asset={asset.value.clone()} />
                    <Certificate host={Rc::clone(&view)} />
                    <Policy host={Rc::clone(&view)} />
                </div>
            </div>
            {
                match *open {
                    Open::Nothing => html! {},
                    Open::Enrol => html! { <Enrol hostname={view.hostname.clone()} on_close={close} /> },
                    Open::Revoke => html! {
                        <Revoke host={(*view).clone()} on_close={close} on_done={
                            let (host, history) = (host.clone(), history.clone());
                            move |revoked| {
                                host.set(revoked);
                                history.refresh_at(None, by_position);
                            }
                        } />
                    },
                }
            }
        </article>
    }
}

fn by_position(one: &EventView, other: &EventView) -> Ordering {
    one.position.cmp(&other.position)
}

fn head(host: &HostView) -> Html {
    html! {
        <header class="head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Hosts}>{ "Hosts" }</Link><Icon glyph={Glyph::Chevron} />
                    <span>{ "Host" }</span>
                </p>
                <h1 data-testid="host-name">{ &host.hostname }</h1>
                <p class="badges">
                    <Badge label={words::host_status(&host.status)} testid="host-status" value={host.status.clone()} />
                    <span class="faint">{ "since " }<Time at={host.status_since} /></span>
                    <span class="faint">{ "agent " }<Agent host={host.clone()} /></span>
                </p>
            </div>
        </header>
    }
}

#[derive(Properties, PartialEq)]
struct NextProps {
    host: Rc<HostView>,
    on_open: Callback<Open>,
}

/// Whether it is there and why not, and what can be done.
#[component]
fn Next(props: &NextProps) -> Html {
    let host = &props.host;
    let now = use_now();
    let admin = has(use_me().as_deref(), Role::Admin);
    let label = words::host_status(&host.status);
    let revoked = host.status == "revoked";
    let ask = |what| props.on_open.reform(move |_: MouseEvent| what);
    html! {
        <section class={classes!("next", label.tone.class())} aria-label="How it is">
            <div class="next-row">
                <p class="next-sentence" data-testid="host-reason" role="status">
                    <Icon glyph={label.glyph} /><span>{ words::host_presence(host, now) }</span>
                </p>
                if admin {
                    <div class="next-actions">
                        if host.status != "online" {
                            <button type="button" class="button" onclick={ask(Open::Enrol)} data-testid="host-enrol-again">
                                { "Enrol again" }
                            </button>
                        }
                        if !revoked {
                            <button type="button" class="button danger" onclick={ask(Open::Revoke)} data-testid="host-revoke">
                                { "Revoke" }
                            </button>
                        }
                    </div>
                }
            </div>
            <div class="why-not">
                <p data-testid="host-advice">{ advice(host) }</p>
                if !admin {
                    <p data-testid="host-why-not">{ "Only an administrator revokes a host or enrols it again." }</p>
                }
            </div>
        </section>
    }
}

/// What to do about how it is.
fn advice(host: &HostView) -> Html {
    match host.status.as_str() {
        "online" if host.agent_is_behind => html! {
            <>
                { format!("Its agent is older than the control plane, which is {VERSION}. On the host, as root, with the new \
                           program: ") }
                <code>{ "./nexplane-agent install" }</code>
            </>
        },
        "online" => {
            html! { { "Orders reach it at once. Its agent checks each against the host owner's policy." } }
        }
        "offline" => html! {
            <>
                { "No change of it can be planned or executed until it is back. On the host: " }<code>{ "nexplane-agent check" }</code>
                { " says what is missing, " }<code>{ "systemctl status nexplane-agent" }</code>{ " whether it runs." }
            </>
        },
        "locked" => html! {
            { "It gets no orders, and nothing that its key says can unlock it. Find out who else uses the key, then revoke \
               the host and enrol it again." }
        },
        "revoked" => html! {
            { "It stays here for what it did. To use the machine again, enrol it again: it is a new host then." }
        },
        _ => html! {},
    }
}

fn changes_panel(host: &HostView, changes: &Resource<Page<ChangeView>>) -> Html {
    let Some(asset) = host.asset_id else {
        return html! {
            <section class="panel order-3" aria-labelledby="changes-title" data-testid="host-changes">
                <h2 id="changes-title">{ "Changes" }</h2>
                <p class="faint">{ "None yet: it becomes an asset once its agent has told what it is." }</p>
            </section>
        };
    };
    let target = || vec![("target", asset.to_string())];
    html! {
        <section class="panel flush order-3" aria-labelledby="changes-title" data-testid="host-changes">
            <div class="panel-head">
                <h2 id="changes-title">{ "Changes" }</h2>
                <span class="actions">
                    <Link to={Route::Changes} class="small" query={target()} testid="host-all-changes">{ "All of them" }</Link>
                    if host.status != "revoked" {
                        <Link to={Route::NewChange} class="button small" query={target()} testid="host-new-change">
                            <Icon glyph={Glyph::Plus} />{ "New change" }
                        </Link>
                    }
                </span>
            </div>
            if let Some(page) = changes.value.clone() {
                if page.items.is_empty() {
                    <p class="panel-note faint">{ "Nobody has asked for a change of it." }</p>
                } else {
                    <div class="table-frame inner"><ChangeTable changes={page.items.clone()} /></div>
                }
            } else if let Some(error) = changes.error.clone() {
                <ProblemNote {error} />
            } else {
                <Skeleton lines={3} />
            }
        </section>
    }
}

fn events_panel(history: &List<EventView>) -> Html {
    html! {
        <section class="panel order-6" aria-labelledby="history-title" data-testid="host-history">
            <h2 id="history-title">{ "Events" }</h2>
            if let Some(events) = history.items.clone() {
                <EventList events={(*events).clone()} />
                if history.more {
                    <button type="button" class="button wide" disabled={history.loading} data-testid="load-more"
                        onclick={let history = history.clone(); move |_| history.load_more()}>
                        { "Load more" }
                    </button>
                }
            } else if let Some(error) = history.error.clone() {
                <ProblemNote {error} />
            } else {
                <Skeleton lines={4} />
            }
        </section>
    }
}
