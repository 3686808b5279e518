//! A change at any moment of its life: one stop per event, and the last stop is now.
//!
//! The server folds the change from the log; nothing is computed here but which stop is meant. The
//! moment is in the address, so that it can be sent to somebody.

use nexplane_core::api::EventView;
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::prelude::*;

use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::time::{Time, use_now};
use crate::route::Route;
use crate::{clock, format};

/// `?at=`: a position of the log, or a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AtQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// The moment that the address asks for; `None` is now.
#[hook]
pub fn use_at() -> Option<String> {
    use_location().and_then(|location| location.query::<AtQuery>().ok()?.at)
}

/// How many of the events, which are oldest first, had happened at that moment.
pub fn happened(events: &[EventView], at: &str) -> usize {
    let by = |had: &dyn Fn(&EventView) -> bool| events.iter().filter(|event| had(event)).count();
    match (at.parse::<u64>(), at.parse::<Timestamp>()) {
        (Ok(position), _) => by(&|event| event.position <= position),
        (_, Ok(moment)) => by(&|event| event.at <= moment),
        (Err(_), Err(_)) => 0,
    }
}

#[derive(Properties, PartialEq)]
pub struct MomentsProps {
    pub id: ChangeId,
    /// Oldest first; nothing while they are read.
    pub events: Option<std::rc::Rc<Vec<EventView>>>,
    pub at: Option<AttrValue>,
}

#[component]
pub fn Moments(props: &MomentsProps) -> Html {
    let MomentsProps { id, at, .. } = props;
    let id = *id;
    let navigator = use_navigator().expect("every page is inside the router");
    let now = use_now();
    let events = props.events.as_deref().map_or(&[][..], Vec::as_slice);
    let all = events.len();
    let stop = at.as_ref().map_or(all, |at| happened(events, at));
    let here = stop.checked_sub(1).and_then(|index| events.get(index));

    let go = {
        let past = at.is_some();
        let positions: Vec<u64> = events.iter().map(|event| event.position).collect();
        Callback::from(move |stop: usize| {
            let route = Route::Change { id };
            let position = stop.checked_sub(1).and_then(|index| positions.get(index));
            let at = position.filter(|_| stop < positions.len()).map(ToString::to_string);
            // The way back leads to where one was before, not through every stop between.
            let went = if past {
                navigator.replace_with_query(&route, AtQuery { at })
            } else {
                navigator.push_with_query(&route, AtQuery { at })
            };
            // Of a plain text a query string can always be made.
            drop(went);
        })
    };
    let oninput = go.reform(|event: InputEvent| {
        let value = event.target_unchecked_into::<web_sys::HtmlInputElement>().value();
        value.parse().unwrap_or_default()
    });
    let step = |to: Option<usize>, what: &'static str, glyph: Glyph, testid: &'static str| {
        let go = go.clone();
        html! {
            <button type="button" class="button quiet icon-only small" aria-label={what} title={what}
                disabled={to.is_none()} data-testid={testid}
                onclick={move |_| { if let Some(to) = to { go.emit(to); } }}>
                <Icon {glyph} />
            </button>
        }
    };
    let count = format!("event {} of {}", format::number(wide(stop)), format::number(wide(all)));
    let spoken = here.map(|event| {
        let at = format::local_exact(event.at, now, clock::offset_minutes(event.at));
        format!("{at}, {count}: {}", format::readable(&event.summary))
    });
    html! {
        <section class={classes!("moments", at.is_some().then_some("past"))} aria-label="History"
            data-testid="moments" data-past={at.is_some().to_string()} data-stop={stop.to_string()}>
            <div class="moments-line">
                { step(stop.checked_sub(1).filter(|to| *to > 0), "One event earlier", Glyph::Back, "moment-earlier") }
                <input type="range" min="1" max={all.max(1).to_string()} step="1" value={stop.max(1).to_string()}
                    {oninput} disabled={all < 2} aria-label="Moment in the life of this change"
                    aria-valuetext={spoken} data-testid="moment" />
                { step(Some(stop + 1).filter(|to| *to <= all && at.is_some()), "One event later", Glyph::Chevron, "moment-later") }
            </div>
            <p class="moments-text" role="status" data-testid="moment-text">
                if at.is_some() {
                    <Icon glyph={Glyph::Clock} />
                    <span><b>
                        { "As it was" }
                        if let Some(event) = here { { " at " }<Time at={event.at} exact=true /> }
                        { ", " }{ &count }
                    </b>
                    if let Some(event) = here {
                        <span class="moments-what">{ ": " }{ format::readable(&event.summary) }</span>
                    }</span>
                    <Link to={Route::Change { id }} class="moments-now" testid="moment-now">{ "Back to now" }</Link>
                } else {
                    <span class="faint">{ "Now" }if all > 0 { { ", " }{ &count } }</span>
                }
            </p>
        </section>
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use nexplane_core::actor::Actor;

    use super::*;

    fn event(position: u64, at: &str) -> EventView {
        EventView {
            position,
            id: uuid::Uuid::nil(),
            kind: "change.edited".to_owned(),
            at: at.parse().unwrap(),
            actor: Actor::SYSTEM,
            actor_name: None,
            stream_name: None,
            stream: String::new(),
            version: 1,
            summary: String::new(),
            change_request_id: None,
            data: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        let events = [
            event(3, "2026-11-23T15:00:00Z"),
            event(7, "2026-11-23T15:01:00Z"),
            event(8, "2026-11-23T15:02:00Z"),
        ];
        for (at, expected) in [
            ("2", 0),
            ("3", 1),
            ("6", 1),
            ("7", 2),
            ("100", 3),
            ("2026-11-23T15:01:30Z", 2),
            ("2026-11-23T14:00:00Z", 0),
            ("sometime", 0),
        ] {
            assert_eq!(happened(&events, at), expected, "{at}");
        }
    }
}
