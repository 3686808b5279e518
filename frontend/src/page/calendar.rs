//! The calendar: what is frozen, when maintenance windows are open, and what recurs.
//!
//! Which freeze is in force follows from the viewer's clock while the page is open. Deliberately absent: notices when
//! somebody else declares one, which the server does not send; the page is read again when one comes back to it.

mod freeze;

use nexplane_core::api::{Page, ScheduleState, ScheduleView, WindowState, WindowView};
use nexplane_core::calendar::event::Scope;
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use self::freeze::Freezes;
use crate::component::badge::Badge;
use crate::component::empty::Empty;
use crate::component::head::Head;
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::{Time, use_now};
use crate::resource::{Resource, use_resource};
use crate::route::Route;
use crate::{format, words};

#[component]
pub fn Calendar() -> Html {
    html! {
        <>
            <Head title="Calendar" lead="When changes may run, and which are made by themselves." />
            <Freezes />
            <Windows />
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
fn Windows() -> Html {
    let windows =
        use_resource::<Page<WindowView>>(Some("/maintenance-windows?limit=200".to_owned()));
    let now = use_now();
    html! {
        <section class="panel flush" aria-labelledby="windows-title">
            <h2 id="windows-title">{ "Maintenance windows" }</h2>
            { listed(&windows, |all| {
                let held: Vec<_> = all.iter().filter(|view| view.state != WindowState::Removed).collect();
                if held.is_empty() {
                    return html! {
                        <p class="faint panel-note" data-testid="windows-none">
                            { "None is defined, so no change waits for one." }
                        </p>
                    };
                }
                html! {
                    <div class="table-frame inner">
                        <table class="table" data-testid="window-list">
                            <thead><tr>
                                <th scope="col">{ "Name" }</th><th scope="col">{ "Holds for" }</th>
                                <th scope="col">{ "When" }</th><th scope="col">{ "Now" }</th>
                            </tr></thead>
                            <tbody>{ for held.into_iter().map(|view| window(view, now)) }</tbody>
                        </table>
                    </div>
                }
            }) }
        </section>
    }
}

fn window(view: &WindowView, now: Timestamp) -> Html {
    let closes = view.closes.filter(|closes| *closes > now);
    html! {
        <tr key={view.id.to_string()} data-testid="window-row">
            <td class="col-main"><b>{ &view.name }</b></td>
            <td>{ scope(&view.scope) }</td>
            <td>
                { &view.description }
                <p class="faint small">{ format!("in {}", view.slots.zone) }</p>
            </td>
            <td>
                <Badge label={words::window_state(closes.is_some())} />
                <p class="faint small">
                    if let Some(at) = closes {
                        { "until " }<Time {at} />
                    } else if let Some(at) = view.next.iter().find(|start| **start > now) {
                        { "opens " }<Time at={*at} />
                    } else {
                        { "read again to see when it opens" }
                    }
                </p>
            </td>
        </tr>
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
                    { " " }<Badge label={words::change_state(state)} />
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
