//! The calendar: what is frozen, when maintenance windows are open, and what recurs.
//!
//! Which freeze is in force follows from the viewer's clock while the page is open. Deliberately absent: notices when
//! somebody else declares one, which the server does not send; the page is read again when one comes back to it.

mod ask;
mod freeze;
mod week;
mod window;

use nexplane_core::api::{Page, ScheduleState, ScheduleView};
use nexplane_core::calendar::event::Scope;
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::hooks::use_location;

use self::ask::Ask;
use self::freeze::Freezes;
use self::week::Week;
use self::window::Windows;
use crate::component::badge::Badge;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::resource::{Resource, use_resource};
use crate::route::Route;
use crate::{format, words};

/// What the address asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// A day of the week that is shown; this one when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    week: String,
    /// The moment that is asked about, in UTC; now when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    at: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    environment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    connection: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    asset: String,
}

impl Asked {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("week", &self.week),
            ("at", &self.at),
            ("environment", &self.environment),
            ("connection", &self.connection),
            ("asset", &self.asset),
        ]
        .map(|(name, value)| (name, value.clone()))
        .to_vec()
    }
}

#[component]
pub fn Calendar() -> Html {
    let asked =
        use_location().and_then(|location| location.query::<Asked>().ok()).unwrap_or_default();
    // What was changed here is in the week and in the answer, too: both are read again.
    let changed = use_state_eq(|| 0_u32);
    let on_change = {
        let changed = changed.clone();
        Callback::from(move |()| changed.set(changed.wrapping_add(1)))
    };
    html! {
        <>
            <Head title="Calendar" lead="When changes may run, and which are made by themselves." />
            <Ask key={format!("ask-{}", *changed)} asked={asked.clone()} />
            <Week key={format!("week-{}", *changed)} {asked} />
            <Freezes on_change={on_change.clone()} />
            <Windows {on_change} />
            <Schedules />
        </>
    }
}

/// What it is about, for people.
fn scope(scope: &Scope) -> String {
    match scope {
        Scope::All => "every change".to_owned(),
        Scope::Environment { environment } => format!("changes in {}", environment.as_str()),
        Scope::Tag { tag } => format!("changes of targets with the tag {tag}"),
    }
}

/// A list, or why there is none yet.
fn listed<T: 'static>(list: &Resource<Page<T>>, rows: impl FnOnce(&[T]) -> Html) -> Html {
    match (&list.value, list.error.clone()) {
        (Some(page), _) => rows(&page.items),
        (None, Some(error)) => {
            let list = list.clone();
            html! { <ProblemNote {error} retry={move |()| list.reload()} /> }
        }
        (None, None) => html! { <Skeleton lines={3} /> },
    }
}

#[component]
fn Schedules() -> Html {
    let schedules = use_resource::<Page<ScheduleView>>(Some("/schedules?limit=200".to_owned()));
    html! {
        <section class="panel flush" aria-labelledby="schedules-title">
            <h2 id="schedules-title">{ "Recurring changes" }</h2>
            { listed(&schedules, |all| {
                let kept: Vec<_> = all.iter().filter(|view| view.state != ScheduleState::Deleted).collect();
                if kept.is_empty() {
                    return html! {
                        <Empty glyph={Glyph::Calendar} title="Nothing recurs" testid="schedules-none">
                            <p>{ "A change that is needed again and again is made, and planned, by itself with: " }
                                <code>{ "nexplane schedule create --help" }</code></p>
                        </Empty>
                    };
                }
                html! {
                    <div class="table-frame inner">
                        <table class="table" data-testid="schedule-list">
                            <thead><tr>
                                <th scope="col">{ "Change" }</th><th scope="col">{ "When" }</th>
                                <th scope="col">{ "Next" }</th><th scope="col">{ "Last" }</th>
                            </tr></thead>
                            <tbody>{ for kept.into_iter().map(schedule) }</tbody>
                        </table>
                    </div>
                }
            }) }
        </section>
    }
}

fn schedule(view: &ScheduleView) -> Html {
    let last = view.last_change.as_ref().map(|last| {
        let number =
            last.number.map_or_else(|| "its change".to_owned(), |number| format!("#{number}"));
        html! {
            <>
                <Link to={Route::Change { id: last.id }}>{ number }</Link>
                if let Some(state) = last.state {
                    { " " }<Badge label={words::change_standing(state, last.settled)} />
                }
                if let Some(problem) = &last.problem {
                    <p class="faint small">{ words::sentence(problem) }</p>
                }
            </>
        }
    });
    html! {
        <tr key={view.id.to_string()} data-testid="schedule-row">
            <td class="col-main">
                <b>{ &view.title }</b>
                <p class="faint small">{ words::change_type(&view.change_type) }</p>
            </td>
            <td>{ &view.description }<p class="faint small">{ format!("in {}", view.zone) }</p></td>
            <td>
                if view.state == ScheduleState::Paused {
                    <Badge label={words::PAUSED} />
                } else if let Some(at) = view.next.first() {
                    <Time at={*at} />
                }
                if let Some(waits) = view.waiting_for.as_ref().or(view.stopped_reason.as_ref()) {
                    <p class="faint small">{ words::sentence(waits) }</p>
                }
            </td>
            <td>
                { last.unwrap_or_else(|| html! { <span class="faint">{ "none yet" }</span> }) }
                if view.skipped_in_all > 0 {
                    <p class="faint small">{ format!("{} skipped", format::count(view.skipped_in_all, "tick", "ticks")) }</p>
                }
            </td>
        </tr>
    }
}
