//! One week: what is frozen, when windows are open, and what starts, day by day on the viewer's clock.
//!
//! Each day is a bar of its hours, and below it the same as a list: nothing is in the drawing alone.

use jiff::ToSpan as _;
use jiff::civil::{Date, Weekday};
use nexplane_core::api::CalendarView;
use nexplane_core::id::ChangeId;
use nexplane_core::time::Timestamp;
use yew::prelude::*;

use super::{Asked, scope};
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::{Time, use_now};
use crate::resource::use_resource;
use crate::route::Route;
use crate::{clock, format, query};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Freeze,
    Slot,
    Start,
    Tick,
}

/// Something in the calendar; what only begins has no end.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    kind: Kind,
    start: Timestamp,
    end: Option<Timestamp>,
    text: String,
    detail: String,
    change: Option<ChangeId>,
}

fn entries(view: &CalendarView) -> Vec<Entry> {
    let freezes = view.freezes.iter().map(|freeze| Entry {
        kind: Kind::Freeze,
        start: freeze.start,
        end: Some(freeze.ended_at.map_or(freeze.end, |ended| ended.min(freeze.end))),
        text: format!("Freeze: {}", freeze.reason),
        detail: scope(&freeze.scope),
        change: None,
    });
    let slots = view.slots.iter().map(|slot| Entry {
        kind: Kind::Slot,
        start: slot.start,
        end: Some(slot.end),
        text: format!("Window open: {}", slot.name),
        detail: scope(&slot.scope),
        change: None,
    });
    let starts = view.changes.iter().map(|start| Entry {
        kind: Kind::Start,
        start: start.at,
        end: None,
        text: format!("#{} {}", start.number, start.title),
        detail: "starts by itself".to_owned(),
        change: Some(start.change),
    });
    let ticks = view.ticks.iter().map(|tick| Entry {
        kind: Kind::Tick,
        start: tick.at,
        end: None,
        text: tick.title.clone(),
        detail: "is made and planned by itself".to_owned(),
        change: None,
    });
    freezes.chain(slots).chain(starts).chain(ticks).collect()
}

/// Those of one day, in order. What begins at its first moment is of that day; what ends there is not.
fn of_day(entries: &[Entry], start: Timestamp, end: Timestamp) -> Vec<&Entry> {
    let mut found: Vec<&Entry> = entries
        .iter()
        .filter(|entry| {
            entry.start < end && entry.end.map_or(entry.start >= start, |end| end > start)
        })
        .collect();
    found.sort_by_key(|entry| entry.start);
    found
}

/// Where a moment is in a day, in hundredths of a percent.
fn place(at: Timestamp, start: Timestamp, end: Timestamp) -> i64 {
    let whole = end.seconds_since(start).max(1);
    (at.seconds_since(start).clamp(0, whole)).saturating_mul(10_000) / whole
}

/// The Monday of the week that an address names, or of today.
fn monday(asked: &str, today: Date) -> Date {
    let day = asked.parse::<Date>().unwrap_or(today);
    let since = day.weekday().since(Weekday::Monday);
    day.checked_sub(i64::from(since).days()).unwrap_or(day)
}

fn moment(day: Date) -> Option<Timestamp> {
    clock::from_local_input(&format!("{day}T00:00"))
}

#[derive(Properties, PartialEq)]
pub struct WeekProps {
    pub asked: Asked,
}

#[component]
pub fn Week(props: &WeekProps) -> Html {
    let now = use_now();
    let today = format::local_date(now, clock::offset_minutes(now));
    let first = monday(&props.asked.week, today);
    let days: Vec<Date> =
        (0_i64..=7).filter_map(|day| first.checked_add(day.days()).ok()).collect();
    let moments: Vec<Timestamp> = days.iter().filter_map(|day| moment(*day)).collect();
    let path = moments.first().zip(moments.get(7)).map(|(from, until)| {
        query::with("/calendar", &[("from", &from.to_string()), ("until", &until.to_string())])
    });
    let calendar = use_resource::<CalendarView>(path);
    let to = |days: i64, text: Html, testid: &'static str| {
        let week = first.checked_add(days.days()).unwrap_or(first).to_string();
        let asked = Asked { week, ..props.asked.clone() };
        html! { <Link to={Route::Calendar} query={asked.pairs()} class="button small" {testid}>{ text }</Link> }
    };
    let this = monday("", today);
    let all = calendar.value.as_deref().map(entries);
    html! {
        <section class="panel flush" aria-labelledby="week-title" data-testid="week" data-week={first.to_string()}>
            <div class="panel-head">
                <h2 id="week-title">{ format!("Week of {}", format::day(first)) }</h2>
                <div class="button-list">
                    { to(-7, html! { "Earlier" }, "week-earlier") }
                    if first != this {
                        <Link to={Route::Calendar} query={Asked { week: String::new(), ..props.asked.clone() }.pairs()}
                            class="button small" testid="week-now">{ "This week" }</Link>
                    }
                    { to(7, html! { "Later" }, "week-later") }
                </div>
            </div>
            if let Some(error) = calendar.error.clone() {
                <ProblemNote {error} />
            }
            if let Some(all) = all {
                <ol class="week" aria-busy={calendar.loading.to_string()}>
                    { for days.iter().take(7).zip(moments.iter().zip(moments.iter().skip(1))).map(|(day, (start, end))| {
                        self::day(*day, *day == today, now, &of_day(&all, *start, *end), *start, *end)
                    }) }
                </ol>
                if calendar.value.as_ref().is_some_and(|view| view.cut) {
                    <p class="faint panel-note">{ "There is more in this week than is shown." }</p>
                }
            } else if calendar.error.is_none() {
                <Skeleton lines={7} />
            }
        </section>
    }
}

fn day(
    day: Date,
    is_today: bool,
    now: Timestamp,
    entries: &[&Entry],
    start: Timestamp,
    end: Timestamp,
) -> Html {
    let percent = |hundredths: i64| format!("{}.{:02}%", hundredths / 100, hundredths % 100);
    let bar = |entry: &&Entry| {
        let from = place(entry.start, start, end);
        let until = entry.end.map_or(from, |until| place(until, start, end));
        let (class, y, height) = match entry.kind {
            Kind::Freeze => ("week-freeze", "0", "8"),
            Kind::Slot => ("week-slot", "10", "8"),
            Kind::Start | Kind::Tick => ("week-start", "0", "18"),
        };
        // What only begins is a line.
        let width =
            if entry.end.is_some() { percent((until - from).max(20)) } else { "2".to_owned() };
        html! { <rect {class} x={percent(from)} {y} {width} {height} /> }
    };
    html! {
        <li class={classes!("week-day", is_today.then_some("week-today"))} aria-current={is_today.then_some("date")}
            data-testid="week-day" data-day={day.to_string()}>
            <h3>{ format::weekday(day) }
                if is_today { { " " }<span class="tag strong">{ "today" }</span> }
            </h3>
            <div>
                <svg class="week-bar" aria-hidden="true" width="100%" height="18">
                    { for [25, 50, 75].map(|x| html! { <rect class="week-hour" x={format!("{x}%")} y="0" width="1" height="18" /> }) }
                    { for entries.iter().map(bar) }
                    if is_today {
                        <rect class="week-now" x={percent(place(now, start, end))} y="0" width="2" height="18" />
                    }
                </svg>
                if entries.is_empty() {
                    <p class="faint small">{ "Nothing in particular." }</p>
                } else {
                    <ul class="week-list">{ for entries.iter().map(|entry| row(entry, start, end)) }</ul>
                }
            </div>
        </li>
    }
}

fn row(entry: &Entry, start: Timestamp, end: Timestamp) -> Html {
    let glyph = match entry.kind {
        Kind::Freeze => Glyph::Lock,
        Kind::Slot => Glyph::Calendar,
        Kind::Start => Glyph::Play,
        Kind::Tick => Glyph::Clock,
    };
    let hour = |at: Timestamp| html! { <Time {at} /> };
    let when = match entry.end {
        None => hour(entry.start),
        Some(until) => match (entry.start < start, until > end) {
            (true, true) => html! { "all day" },
            (true, false) => html! { <>{ "until " }{ hour(until) }</> },
            (false, true) => html! { <>{ "from " }{ hour(entry.start) }</> },
            (false, false) => html! { <>{ hour(entry.start) }{ " – " }{ hour(until) }</> },
        },
    };
    let what = match entry.change {
        Some(id) => {
            html! { <Link to={Route::Change { id }} testid="week-change">{ &entry.text }</Link> }
        }
        None => html! { <b>{ &entry.text }</b> },
    };
    html! {
        <li data-testid="week-entry">
            <crate::component::icon::Icon {glyph} />
            <span>{ what }{ ", " }<span class="faint">{ &entry.detail }</span></span>
            <span class="faint small nowrap">{ when }</span>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(start: &str, end: Option<&str>) -> Entry {
        Entry {
            kind: Kind::Slot,
            start: at(start),
            end: end.map(at),
            text: start.to_owned(),
            detail: String::new(),
            change: None,
        }
    }

    #[test]
    fn a_day_has_what_reaches_into_it_in_order() {
        let (start, end) = (at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z"));
        let all = [
            entry("2026-11-24T22:00:00Z", Some("2026-11-25T04:00:00Z")),
            entry("2026-11-23T22:00:00Z", Some("2026-11-24T00:00:00Z")),
            entry("2026-11-23T23:00:00Z", Some("2026-11-24T00:00:01Z")),
            entry("2026-11-24T00:00:00Z", None),
            entry("2026-11-25T00:00:00Z", None),
            entry("2026-11-23T23:59:59Z", None),
        ];
        let found: Vec<_> = of_day(&all, start, end).iter().map(|it| it.text.as_str()).collect();
        assert_eq!(found, ["2026-11-23T23:00:00Z", "2026-11-24T00:00:00Z", "2026-11-24T22:00:00Z"]);
        assert_eq!(place(at("2026-11-24T12:00:00Z"), start, end), 5_000);
        assert_eq!(place(at("2026-11-27T12:00:00Z"), start, end), 10_000);
        assert_eq!(place(at("2026-11-20T12:00:00Z"), start, end), 0);
    }

    #[test]
    fn a_week_begins_on_its_monday_whatever_day_is_named() {
        let today: Date = "2026-11-29".parse().unwrap();
        for asked in ["2026-11-23", "2026-11-29", "", "nonsense"] {
            assert_eq!(monday(asked, today).to_string(), "2026-11-23", "{asked}");
        }
        assert_eq!(monday("2027-01-01", today).to_string(), "2026-12-28");
    }
}
