//! Targets as rows. Only those that can be seen, and a few around them, are on the page.

use std::rc::Rc;

use gloo_events::EventListener;
use nexplane_core::api::{RolloutTargetView, TargetState};
use web_sys::Element;
use yew::prelude::*;

use super::cursor;
use super::source::Source;
use crate::component::badge::Badge;
use crate::component::time::Time;
use crate::words;

/// Height of a row in pixels; the style sheet has the same number.
const ROW: usize = 40;
/// Rows are put on the page and taken away by as many at once.
const STEP: usize = 8;
/// Until the height of the frame is known.
const USUAL: usize = 16;

#[derive(Properties, PartialEq)]
pub struct RowsProps {
    pub source: Source,
    /// The place that the keys are at.
    pub at: usize,
    pub on_move: Callback<usize>,
    pub on_open: Callback<usize>,
}

#[component]
pub fn Rows(props: &RowsProps) -> Html {
    let frame = use_node_ref();
    // The first row that can be seen, cut down to a step; and how many can be.
    let seen = use_state_eq(|| (0_usize, USUAL));
    let len = props.source.grid().len();
    {
        let (seen, frame) = (seen.setter(), frame.clone());
        use_effect_with((), move |()| {
            let look = move |frame: &Element| {
                let pixels = |number: i32| usize::try_from(number).unwrap_or(0);
                let first = pixels(frame.scroll_top()) / ROW / STEP * STEP;
                seen.set((first, pixels(frame.client_height()).div_ceil(ROW)));
            };
            let element = frame.cast::<Element>();
            if let Some(frame) = &element {
                look(frame);
            }
            let listeners = element.map(|element| {
                let again = (element.clone(), look.clone());
                let scrolled =
                    EventListener::new(&element.clone(), "scroll", move |_| look(&element));
                let resized = web_sys::window().map(|window| {
                    let (element, look) = again;
                    EventListener::new(&window, "resize", move |_| look(&element))
                });
                (scrolled, resized)
            });
            move || drop(listeners)
        });
    }
    let (first, count) = *seen;
    let end = (first + count + 2 * STEP).min(len);
    let start = first.saturating_sub(STEP).min(end);
    {
        let source = props.source.clone();
        use_effect_with((start, end, source), |(start, end, source)| {
            source.look_at(*start..*end);
        });
    }
    {
        // The keys went somewhere: it has to be seen. Below the head, which stays.
        let frame = frame.clone();
        use_effect_with(props.at, move |at| {
            let top = i32::try_from(at * ROW).unwrap_or(i32::MAX);
            let row = i32::try_from(ROW).unwrap_or(0);
            if let Some(frame) = frame.cast::<Element>() {
                cursor::keep_in_sight(&frame, top..top + 2 * row);
            }
        });
    }
    let onkeydown = {
        let (on_move, on_open, at) = (props.on_move.clone(), props.on_open.clone(), props.at);
        Callback::from(move |event: KeyboardEvent| {
            if event.ctrl_key() || event.meta_key() || event.alt_key() {
                return;
            }
            let key = event.key();
            match cursor::go(&key, at, 1, count.saturating_sub(2).max(1), len) {
                Some(to) => on_move.emit(to),
                None if key == "Enter" => on_open.emit(at),
                None => return,
            }
            // Keys of the grid are no keys of the page.
            event.prevent_default();
            event.stop_propagation();
        })
    };
    let grid = props.source.grid();
    let rows = (start..end).filter_map(|place| {
        let (no, state) = (grid.no_at(place)?, grid.state_at(place)?);
        let row = grid.row(no).cloned();
        Some(html! {
            <TargetRow key={no} {place} {no} {state} {row} current={place == props.at}
                on_open={props.on_open.clone()} />
        })
    });
    let is_there = (start..end).contains(&props.at);
    html! {
        <div ref={frame} class="target-rows" role="grid" tabindex="0" aria-label="Targets"
            aria-rowcount={(len + 1).to_string()} data-testid="target-rows" data-row="" {onkeydown}
            aria-activedescendant={is_there.then(|| format!("target-at-{}", props.at))}>
            <div role="rowgroup" class="target-head">
                <div role="row" class="target-row" aria-rowindex="1">
                    <span role="columnheader" class="target-no">{ "No." }</span>
                    <span role="columnheader" class="target-name">{ "Target" }</span>
                    <span role="columnheader" class="target-state">{ "State" }</span>
                    <span role="columnheader" class="target-why">{ "Why, or what it waits for" }</span>
                    <span role="columnheader" class="target-since">{ "Since" }</span>
                </div>
            </div>
            <div role="rowgroup">
                { space(start) }
                { for rows }
                { space(len.saturating_sub(end)) }
            </div>
        </div>
    }
}

/// As high as so many rows.
fn space(rows: usize) -> Html {
    html! {
        <svg class="target-space" width="1" height={(rows * ROW).to_string()} aria-hidden="true"></svg>
    }
}

#[derive(Properties, PartialEq)]
struct TargetRowProps {
    place: usize,
    no: u32,
    state: TargetState,
    /// `None` until it has been read.
    row: Option<Rc<RolloutTargetView>>,
    current: bool,
    on_open: Callback<usize>,
}

#[component]
fn TargetRow(props: &TargetRowProps) -> Html {
    let TargetRowProps { place, no, state, .. } = *props;
    let onclick = props.on_open.reform(move |_: MouseEvent| place);
    let row = props.row.as_deref();
    let why = row.and_then(why);
    html! {
        <div role="row" id={format!("target-at-{place}")} aria-rowindex={(place + 2).to_string()}
            class={classes!("target-row", props.current.then_some("current"))} {onclick}
            data-testid="target-row" data-no={no.to_string()} data-state={state.as_str()}>
            <span role="gridcell" class="target-no">{ no + 1 }</span>
            <span role="gridcell" class="target-name">
                if let Some(row) = row {
                    <code title={row.name.clone()}>{ &row.name }</code>
                } else {
                    <span class="skeleton-line" aria-label="Being read"></span>
                }
            </span>
            <span role="gridcell" class="target-state"><Badge label={words::target_state(state)} /></span>
            <span role="gridcell" class="target-why" title={why.map(str::to_owned)}>
                { why.map(|why| words::sentence(first_sentence(why))) }
            </span>
            <span role="gridcell" class="target-since">
                if let Some(row) = row {
                    <Time at={row.since} exact=true />
                }
            </span>
        </div>
    }
}

/// Why it did not end well, or what it waits for.
pub fn why(row: &RolloutTargetView) -> Option<&str> {
    row.reason.as_deref().or(row.waiting_for.as_deref())
}

/// Up to a full stop that ends a sentence; all of it, when none does.
fn first_sentence(text: &str) -> &str {
    let text = text.lines().next().unwrap_or_default();
    text.find(". ").and_then(|end| text.get(..=end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_first_sentence() {
        assert_eq!(first_sentence("It is at 10.0.0.1 now. Look at it."), "It is at 10.0.0.1 now.");
        assert_eq!(first_sentence("no answer"), "no answer");
        assert_eq!(first_sentence("one\ntwo. three"), "one");
        assert_eq!(first_sentence(""), "");
    }
}
