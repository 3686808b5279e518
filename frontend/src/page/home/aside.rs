//! Beside the reader's own work: the calendar of the next 24 hours, and whether all is well.

use nexplane_core::api::{AgendaItem, AgendaKind, HealthLine, HealthPart, HealthState};
use nexplane_core::id::ChangeId;
use yew::prelude::*;

use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::time::{Time, use_now};
use crate::route::Route;
use crate::words::Tone;

#[derive(Properties, PartialEq)]
pub struct AgendaProps {
    pub items: Vec<AgendaItem>,
    pub more: bool,
}

#[component]
pub fn Agenda(props: &AgendaProps) -> Html {
    let now = use_now();
    let row = |item: &AgendaItem| {
        // Time goes on while the page is open.
        let is_now = item.until.is_some_and(|until| item.from <= now && now < until);
        let (glyph, tone) = match item.kind {
            AgendaKind::Freeze => (Glyph::Blocked, Tone::Waiting),
            AgendaKind::Window => (Glyph::Calendar, Tone::Neutral),
            AgendaKind::Change => (Glyph::Play, Tone::Active),
            AgendaKind::Schedule => (Glyph::Clock, Tone::Neutral),
        };
        let title = match item.kind {
            AgendaKind::Change => {
                html! { <Link to={Route::Change { id: ChangeId(item.id) }}>{ &item.title }</Link> }
            }
            AgendaKind::Freeze | AgendaKind::Window | AgendaKind::Schedule => {
                html! { <Link to={Route::Calendar}>{ &item.title }</Link> }
            }
        };
        html! {
            <li key={format!("{}-{}", item.id, item.from)} data-testid="home-agenda-row"
                class={classes!("agenda-row", tone.class(), is_now.then_some("now"))}>
                <Icon {glyph} />
                <div>
                    <p class="agenda-time small">
                        if is_now {
                            <b class="agenda-now">{ "Now" }</b>{ " until " }
                            if let Some(until) = item.until { <Time at={until} /> }
                        } else {
                            <Time at={item.from} />
                            if let Some(until) = item.until { { " – " }<Time at={until} /> }
                        }
                    </p>
                    <p>{ title }</p>
                    <p class="faint small">{ format!("{} · {}", word(item.kind), item.about) }</p>
                </div>
            </li>
        }
    };
    html! {
        <section class="panel" aria-labelledby="agenda-title" data-testid="home-agenda">
            <div class="panel-head">
                <h2 id="agenda-title">{ "Next 24 hours" }</h2>
                <Link to={Route::Calendar} class="small">{ "Calendar" }</Link>
            </div>
            if props.items.is_empty() {
                <p class="faint" data-testid="home-agenda-none">
                    { "No freeze, no maintenance window, and nothing starts by itself." }
                </p>
            } else {
                <ol class="agenda">{ for props.items.iter().map(row) }</ol>
            }
            if props.more {
                <p class="faint small">{ "There is more: see the calendar." }</p>
            }
        </section>
    }
}

const fn word(kind: AgendaKind) -> &'static str {
    match kind {
        AgendaKind::Freeze => "Freeze",
        AgendaKind::Window => "Maintenance window",
        AgendaKind::Change => "Change",
        AgendaKind::Schedule => "Recurring change",
    }
}

#[derive(Properties, PartialEq)]
pub struct HealthProps {
    pub lines: Vec<HealthLine>,
}

#[component]
pub fn Health(props: &HealthProps) -> Html {
    let row = |line: &HealthLine| {
        let (title, to, query) = match line.part {
            HealthPart::Projections => ("Read models", Route::Operations, vec![]),
            HealthPart::Hosts => ("Hosts", Route::Hosts, not_well(line, ("status", "offline"))),
            HealthPart::Connections => ("Connections", Route::Connections, vec![]),
            HealthPart::Seal => ("Log", Route::Audit, vec![]),
        };
        let (glyph, tone, word) = match line.state {
            // Green is for what was read back from a target, or proven.
            HealthState::Good => (Glyph::Check, Tone::Active, "well"),
            HealthState::Unknown => (Glyph::Question, Tone::Neutral, "not known"),
            HealthState::Attention => (Glyph::Warning, Tone::Waiting, "needs attention"),
            HealthState::Bad => (Glyph::Cross, Tone::Failed, "does not work"),
        };
        html! {
            <li key={title} class={classes!("health-row", tone.class())} data-testid="home-health-row"
                data-state={format!("{:?}", line.state).to_lowercase()}>
                <Icon {glyph} />
                <div>
                    <Link {to} {query}>{ title }</Link>
                    <span class="visually-hidden">{ format!(": {word}") }</span>
                    <p class="small">{ &line.sentence }</p>
                </div>
            </li>
        }
    };
    html! {
        <section class="panel" aria-labelledby="health-title" data-testid="home-health">
            <h2 id="health-title">{ "Is all well?" }</h2>
            <ul class="health">{ for props.lines.iter().map(row) }</ul>
        </section>
    }
}

/// The filter that shows what is not well, when something is not.
fn not_well(line: &HealthLine, (name, value): (&'static str, &str)) -> Vec<(&'static str, String)> {
    match line.state {
        HealthState::Attention | HealthState::Bad => vec![(name, value.to_owned())],
        HealthState::Good | HealthState::Unknown => Vec::new(),
    }
}
