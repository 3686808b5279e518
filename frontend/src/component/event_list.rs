//! What happened, newest last, with who and when.

use nexplane_core::actor::ActorKind;
use nexplane_core::api::EventView;
use yew::prelude::*;

use super::icon::{Glyph, Icon};
use super::time::Time;
use crate::format;

#[derive(Properties, PartialEq)]
pub struct EventListProps {
    pub events: Vec<EventView>,
}

#[component]
pub fn EventList(props: &EventListProps) -> Html {
    html! {
        <ol class="events" data-testid="events">{ for props.events.iter().map(event) }</ol>
    }
}

fn event(event: &EventView) -> Html {
    html! {
        <li class="event" key={event.position.to_string()} data-testid="event" data-type={event.kind.clone()}>
            <span class="event-mark" aria-hidden="true"></span>
            <div class="event-text">
                <p>
                    <Actor event={event.clone()} />
                    { " " }
                    <span>{ format::readable(&event.summary) }</span>
                </p>
                <details>
                    <summary><code>{ &event.kind }</code></summary>
                    <pre class="payload">{ format::pretty(&event.data) }</pre>
                </details>
            </div>
            <span class="event-time"><Time at={event.at} exact=true /></span>
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
