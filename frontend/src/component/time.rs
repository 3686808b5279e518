//! Moments, on the viewer's clock, with UTC behind them.

use gloo_timers::callback::Interval;
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use crate::{clock, format};

/// The moment that relative times are told from; moves on twice a minute.
#[derive(Clone, Copy, PartialEq)]
struct Now(Timestamp);

#[derive(Properties, PartialEq)]
pub struct NowProviderProps {
    pub children: Html,
}

#[component]
pub fn NowProvider(props: &NowProviderProps) -> Html {
    let now = use_state_eq(clock::now);
    {
        let now = now.setter();
        use_effect_with((), move |()| {
            let ticks = Interval::new(30_000, move || now.set(clock::now()));
            move || drop(ticks)
        });
    }
    html! {
        <ContextProvider<Now> context={Now(*now)}>{ props.children.clone() }</ContextProvider<Now>>
    }
}

#[hook]
pub fn use_now() -> Timestamp {
    use_context::<Now>().map_or_else(clock::now, |now| now.0)
}

#[derive(Properties, PartialEq)]
pub struct SentenceProps {
    pub text: String,
}

/// A sentence of the server, with its moments on the viewer's clock.
#[component]
pub fn Sentence(props: &SentenceProps) -> Html {
    let parts = format::moments(&props.text).into_iter().map(|part| match part {
        format::Part::Text(text) => html! { { text } },
        format::Part::Moment(at) => html! { <Time {at} /> },
    });
    html! { <span>{ for parts }</span> }
}

#[derive(Properties, PartialEq)]
pub struct TimeProps {
    pub at: Timestamp,
    /// `4 min ago` instead of `15:08`.
    #[prop_or_default]
    pub relative: bool,
    /// With seconds.
    #[prop_or_default]
    pub exact: bool,
}

#[component]
pub fn Time(props: &TimeProps) -> Html {
    let TimeProps { at, relative, exact } = *props;
    let now = use_now();
    let offset = clock::offset_minutes(at);
    let text = if relative {
        format::relative(at, now)
    } else if exact {
        format::local_exact(at, now, offset)
    } else {
        format::local(at, now, offset)
    };
    let title = if relative {
        format!("{} · {}", format::local_exact(at, now, offset), format::utc(at))
    } else {
        format::utc(at)
    };
    html! { <time datetime={at.to_string()} {title}>{ text }</time> }
}
