//! One event: what happened, the record that was kept of it, and the proof that it is in the log.

mod key;
mod proof;

use std::rc::Rc;

use nexplane_core::actor::Actor as CoreActor;
use nexplane_core::api::{EventDetail, Positions};
use nexplane_core::id::{AssetId, Category, ConnectionId, HostId, StreamId};
use nexplane_core::record::{self, Header, Record};
use yew::prelude::*;

use super::audit::SYSTEM;
use crate::component::badge::Callout;
use crate::component::copy::CopyButton;
use crate::component::event_list::Actor;
use crate::component::fields::Fields;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::shell::set_title;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::format;
use crate::resource::use_resource;
use crate::route::Route;
use crate::words::Tone;

#[derive(Properties, PartialEq)]
pub struct EventProps {
    pub position: u64,
}

#[component]
pub fn Event(props: &EventProps) -> Html {
    let position = props.position;
    let event = use_resource::<EventDetail>(Some(format!("/audit/events/{position}")));
    use_effect_with(position, |position| {
        set_title(&format!("Event {}", format::number(*position)));
    });
    let Some(detail) = event.value.clone() else {
        return match event.error.clone() {
            Some(error) => html! {
                <ProblemNote {error} retry={move |()| event.reload()} />
            },
            None => html! { <Skeleton lines={14} /> },
        };
    };
    // What is shown as the record's is read from the text that is proven, not from another answer.
    let read = record::decode(&detail.record).ok();
    html! {
        <article data-testid="event-page" data-position={position.to_string()}
            data-type={detail.event.kind.clone()}>
            { head(&detail) }
            { contradiction(&detail, read.as_ref()) }
            <div class="split">
                <div class="stack">
                    <proof::Proof detail={Rc::clone(&detail)} />
                    { data(read.as_ref()) }
                    { text(&detail.record) }
                </div>
                <div class="stack side">{ facts(&detail, read.as_ref().map(|read| &read.header)) }</div>
            </div>
        </article>
    }
}

fn head(detail: &EventDetail) -> Html {
    let event = &detail.event;
    html! {
        <header class="head change-head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Audit}>{ "Audit" }</Link>
                    <Icon glyph={Glyph::Chevron} />
                    <span>{ format!("Event {}", format::number(event.position)) }</span>
                </p>
                <h1 data-testid="event-summary">{ format::readable(&event.summary) }</h1>
                <p class="lead">
                    <Actor event={event.clone()} />{ " · " }<Time at={event.at} exact=true />
                </p>
            </div>
            <nav class="head-actions" aria-label="Events of the log">
                { neighbour(event.position.checked_sub(1), "Previous event", "event-previous", Glyph::Back) }
                { neighbour(detail.next, "Next event", "event-next", Glyph::Chevron) }
            </nav>
        </header>
    }
}

/// A button to an event beside this one, which keeps its place when there is none.
fn neighbour(to: Option<u64>, what: &'static str, testid: &'static str, glyph: Glyph) -> Html {
    let word = if glyph == Glyph::Back {
        html! { <><Icon {glyph} />{ what }</> }
    } else {
        html! { <>{ what }<Icon {glyph} /></> }
    };
    match to {
        Some(position) => html! {
            <Link to={Route::Event { position }} class="button" {testid}>{ word }</Link>
        },
        None => html! { <button type="button" class="button" disabled=true>{ word }</button> },
    }
}

/// The audit view was made from the record when it was written. When they differ, one was changed.
fn contradiction(detail: &EventDetail, read: Option<&Record>) -> Html {
    let event = &detail.event;
    let differs = match read {
        None => vec!["it cannot be read"],
        Some(Record { header, data }) => [
            (header.kind != event.kind, "type"),
            (header.at != event.at, "time"),
            (header.actor != event.actor, "actor"),
            (header.stream.to_string() != event.stream, "stream"),
            (header.version != event.version, "version"),
            (header.id != event.id, "id"),
            // Of an older form, the view has the data as it would be written today.
            (header.schema == 1 && *data != event.data, "data"),
        ]
        .into_iter()
        .filter_map(|(differs, what)| differs.then_some(what))
        .collect(),
    };
    if differs.is_empty() {
        return html! {};
    }
    html! {
        <Callout tone={Tone::Failed} glyph={Glyph::Warning} testid="event-contradiction">
            <p><b>{ "The record says something else than the list of events. " }</b>
            { format!("Different: {}. ", differs.join(", ")) }
            { "The list was made from the record when it was written, so one of them was changed \
               since. The sentence above is the list's." }</p>
        </Callout>
    }
}

fn data(read: Option<&Record>) -> Html {
    let Some(Record { data, .. }) = read else { return html! {} };
    let none = data.as_object().is_some_and(serde_json::Map::is_empty);
    html! {
        <section class="panel order-2" aria-labelledby="data-title">
            <h2 id="data-title">{ "What the record says" }</h2>
            if none {
                <p class="faint">{ "Nothing beyond its type." }</p>
            } else {
                <dl class="facts wide" data-testid="audit-payload"><Fields value={data.clone()} /></dl>
            }
        </section>
    }
}

fn text(record: &str) -> Html {
    let bytes = format::count(u64::try_from(record.len()).unwrap_or(u64::MAX), "byte", "bytes");
    html! {
        <section class="panel order-4" aria-labelledby="record-title">
            <div class="panel-head">
                <h2 id="record-title">{ "Record" }</h2>
                <CopyButton text={record.to_owned()} what="the record" testid="record-copy" />
            </div>
            <p class="faint small">{ format!("{bytes}, exactly as stored. They are what is hashed.") }</p>
            <pre class="payload" data-testid="event-record" tabindex="0" aria-labelledby="record-title">
                { record }
            </pre>
        </section>
    }
}

fn facts(detail: &EventDetail, header: Option<&Header>) -> Html {
    let event = &detail.event;
    let position = event.position;
    let by_system = event.actor == CoreActor::SYSTEM;
    let actor = if by_system { SYSTEM.to_owned() } else { event.actor.id.to_string() };
    html! {
        <section class="panel order-3" aria-labelledby="facts-title" data-testid="event-facts">
            <h2 id="facts-title">{ "Event" }</h2>
            <dl class="facts">
                <div><dt>{ "Position" }</dt><dd>{ format::number(position) }</dd></div>
                <div><dt>{ "Type" }</dt><dd>
                    <Link to={Route::Audit} query={vec![("type", event.kind.clone())]} title="All of this type">
                        <code>{ &event.kind }</code>
                    </Link>
                </dd></div>
                <div><dt>{ "Recorded" }</dt><dd>
                    <Time at={event.at} exact=true />
                    <p class="faint small"><code>{ event.at.to_string() }</code></p>
                </dd></div>
                <div><dt>{ "By" }</dt><dd>
                    <Link to={Route::Audit} query={vec![("actor", actor)]}
                        title="All events by this actor" testid="event-actor">
                        <Actor event={event.clone()} />
                    </Link>
                    if !by_system {
                        <p class="faint small"><code>{ event.actor.id.to_string() }</code></p>
                    }
                </dd></div>
                <div><dt>{ "About" }</dt><dd data-testid="event-about">{ about(detail) }</dd></div>
                <div><dt>{ "Stream" }</dt><dd>
                    <Link to={Route::Audit} query={vec![("resource", event.stream.clone())]}
                        title="All events about it"><code>{ &event.stream }</code></Link>
                    <p class="small">
                        { format!("Version {}", format::number(event.version)) }
                        { for [("earlier", detail.previous_in_stream), ("later", detail.next_in_stream)]
                            .into_iter().filter_map(|(word, at)| Some((word, at?)))
                            .map(|(word, position)| html! {
                                <>{ " · " }<Link to={Route::Event { position }}
                                    testid={format!("stream-{word}")}>{ word }</Link></>
                            }) }
                    </p>
                </dd></div>
                <div><dt>{ "Id" }</dt><dd><code>{ event.id.to_string() }</code></dd></div>
                if let Some(header) = header {
                    <div><dt>{ "Schema" }</dt><dd>{ header.schema }</dd></div>
                    { for causes(detail, header) }
                }
            </dl>
        </section>
    }
}

/// What the event is about, with the way there.
fn about(detail: &EventDetail) -> Html {
    let event = &detail.event;
    let stream = event.stream.parse::<StreamId>().ok();
    let name = event.stream_name.clone();
    let name_or = |word: &str| name.clone().unwrap_or_else(|| word.to_owned());
    let change = event.change_request_id.map(|id| Route::Change { id });
    let (word, to) = match stream.map(|stream| (stream.category, stream.id)) {
        Some((Category::Change, _)) => (name_or("The change"), change),
        Some((Category::Asset, id)) => {
            (name_or("An asset"), Some(Route::Asset { id: AssetId(id) }))
        }
        Some((Category::Connection, id)) => {
            (name_or("A connection"), Some(Route::Connection { id: ConnectionId(id) }))
        }
        Some((Category::Host, id)) => (name_or("A host"), Some(Route::Host { id: HostId(id) })),
        Some((Category::Person, _)) => (name_or("A person"), Some(Route::People)),
        Some((Category::Run, _)) => ("A run of a change".to_owned(), change),
        Some((Category::Manifest, _)) => ("The steps of a plan".to_owned(), change),
        Some((Category::Rollout, _)) => ("The rollout of a change".to_owned(), change),
        Some((Category::Calendar, _)) => ("The calendar".to_owned(), None),
        Some((Category::Gateway, _)) => ("An agent gateway".to_owned(), Some(Route::Hosts)),
        Some((Category::Project, _)) => (name_or("A project"), None),
        Some((Category::Schedule, _)) => (name_or("A schedule"), None),
        Some((Category::Policy, _)) => ("The approval policy".to_owned(), None),
        None => (event.stream.clone(), None),
    };
    let other = change.filter(|change| to != Some(*change));
    html! {
        <>
            if let Some(to) = to { <Link {to}>{ word }</Link> } else { { word } }
            if let Some(to) = other { <p><Link {to}>{ "The change it belongs to" }</Link></p> }
            if let Some(to) = change {
                <p class="small"><Link {to} query={vec![("at", event.position.to_string())]}
                    testid="event-as-of">{ "The change as it was then" }</Link></p>
            }
        </>
    }
}

/// Where the event comes from; an id that was named already is not repeated.
fn causes(detail: &EventDetail, header: &Header) -> Vec<Html> {
    let here = detail.event.position;
    let named = |id: &uuid::Uuid, at: Option<Positions>| {
        let (id, events) = (id.to_string(), at.map(|at| place(at, here)));
        html! {
            <>
                <code>{ id }</code>
                if let Some(events) = events { <p class="small">{ events }</p> }
            </>
        }
    };
    let same = || html! { <span class="faint">{ "The same command" }</span> };
    let of = |id: &uuid::Uuid, at| if *id == header.command { same() } else { named(id, at) };
    [
        ("Command", named(&header.command, detail.command_at)),
        ("Correlation", of(&header.correlation, detail.correlation_at)),
        ("Causation", of(&header.causation, detail.causation_at)),
    ]
    .into_iter()
    .map(|(name, text)| html! { <div><dt>{ name }</dt><dd>{ text }</dd></div> })
    .collect()
}

fn place(Positions { first, last }: Positions, here: u64) -> Html {
    let text = match (first, last) {
        (first, last) if first == last && first == here => return html! { { "This event only" } },
        (first, last) if first == last => format!("Event {}", format::number(first)),
        (first, last) => format!("Events {} to {}", format::number(first), format::number(last)),
    };
    html! { <Link to={Route::Event { position: first }}>{ text }</Link> }
}
