//! What happened, newest last, with who and when.

use nexplane_core::actor::ActorKind;
use nexplane_core::api::EventView;
use yew::prelude::*;

use super::icon::{Glyph, Icon};
use super::link::Link;
use super::time::Time;
use crate::format;
use crate::route::Route;
use crate::session::use_may_audit;

#[derive(Properties, PartialEq)]
pub struct EventListProps {
    pub events: Vec<EventView>,
    /// So many of them had happened at the moment that is shown; nothing is now.
    #[prop_or_default]
    pub happened: Option<usize>,
}

#[component]
pub fn EventList(props: &EventListProps) -> Html {
    let opens = use_may_audit();
    html! {
        <ol class="events" data-testid="events">
            { for props.events.iter().enumerate().map(|(index, one)| {
                event(one, opens, props.happened.is_some_and(|happened| index >= happened))
            }) }
        </ol>
    }
}

/// The time of an event leads to its page, for those who may open it.
fn event(event: &EventView, opens: bool, later: bool) -> Html {
    let position = event.position;
    let time = html! { <Time at={event.at} exact=true /> };
    html! {
        <li class={classes!("event", later.then_some("later"))} key={position.to_string()} data-testid="event"
            data-type={event.kind.clone()} data-later={later.then_some("true")}>
            <span class="event-mark" aria-hidden="true"></span>
            <div class="event-text">
                <p>
                    <Actor event={event.clone()} />
                    { " " }
                    <span>{ format::readable(&event.summary) }</span>
                    if later {
                        <span class="visually-hidden">{ " (later)" }</span>
                    }
                </p>
                <details>
                    <summary><code>{ &event.kind }</code></summary>
                    <pre class="payload">{ format::pretty(&event.data) }</pre>
                </details>
            </div>
            <span class="event-time">
                if opens {
                    <Link to={Route::Event { position }} testid="event-link"
                        title={format!("Event {}, with its proof", format::number(position))}>
                        { time }
                    </Link>
                } else {
                    { time }
                }
            </span>
        </li>
    }
}

#[derive(Properties, PartialEq)]
pub struct ActorProps {
    pub event: EventView,
}

#[component]
pub fn Actor(props: &ActorProps) -> Html {
    let event = &props.event;
    html! { <b class="actor"><Icon glyph={glyph(event.actor.kind)} />{ name(event) }</b> }
}

const fn glyph(kind: ActorKind) -> Glyph {
    match kind {
        ActorKind::User => Glyph::People,
        ActorKind::Machine => Glyph::Key,
        ActorKind::Agent => Glyph::Hosts,
        ActorKind::System => Glyph::Operations,
    }
}

/// The actor's name, or what kind of actor it was when its name is gone.
pub fn name(event: &EventView) -> String {
    match (&event.actor_name, event.actor.kind) {
        (Some(name), ActorKind::Machine) => format!("{name} (token)"),
        (Some(name), _) => name.clone(),
        (None, ActorKind::System) => "Nexplane".to_owned(),
        (None, ActorKind::Agent) => format!("Agent {}", format::short_id(event.actor.id)),
        (None, ActorKind::User | ActorKind::Machine) => {
            format!("Person {}", format::short_id(event.actor.id))
        }
    }
}
