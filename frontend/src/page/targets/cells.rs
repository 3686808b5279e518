//! All targets at one glance: a cell for each, with a shape and a colour for its state.
//!
//! Cells are drawn, a path for each state and a few lines, so that ten thousand of them are a hundred elements.

use std::fmt::Write as _;
use std::rc::Rc;

use gloo_events::EventListener;
use nexplane_core::api::{RolloutTargetView, TargetState};
use web_sys::Element;
use yew::prelude::*;

use super::cursor;
use super::rows::why;
use super::source::Source;
use crate::component::badge::Badge;
use crate::component::time::Time;
use crate::words;

/// Pixels of a cell, with the gap beside it.
const LEAST: usize = 8;
const MOST: usize = 24;
/// Units of a cell in the drawing.
const UNIT: usize = 10;
/// Lines that are drawn together.
const BAND: usize = 8;
/// Rows that are read around the one that somebody points at.
const AROUND: usize = 50;

#[derive(Properties, PartialEq)]
pub struct CellsProps {
    pub source: Source,
    pub at: usize,
    pub on_move: Callback<usize>,
    pub on_open: Callback<usize>,
}

/// How large cells are, and how many are beside each other, so that all are in sight where that is possible.
fn layout(width: usize, height: usize, count: usize) -> (usize, usize) {
    let fits = |size: usize| count.div_ceil((width / size).max(1)) * size <= height;
    let size = (LEAST..=MOST).rev().find(|size| fits(*size)).unwrap_or(LEAST);
    (size, (width / size).max(1))
}

#[component]
pub fn Cells(props: &CellsProps) -> Html {
    let frame = use_node_ref();
    let room = use_state_eq(|| (800_usize, 480_usize));
    let pointed = use_state_eq(|| None::<usize>);
    {
        let (room, frame) = (room.setter(), frame.clone());
        use_effect_with((), move |()| {
            let pixels = |number: i32| usize::try_from(number).unwrap_or(0);
            let measure = move || {
                if let Some(frame) = frame.cast::<Element>() {
                    room.set((pixels(frame.client_width()), pixels(frame.client_height())));
                }
            };
            measure();
            let resized = web_sys::window()
                .map(|window| EventListener::new(&window, "resize", move |_| measure()));
            move || drop(resized)
        });
    }
    let grid = props.source.grid();
    let len = grid.len();
    let (size, columns) = layout(room.0, room.1, len);
    let lines = len.div_ceil(columns);
    {
        let (source, place) = (props.source.clone(), pointed.unwrap_or(props.at));
        use_effect_with((source, place), |(source, place)| {
            source.look_at(place.saturating_sub(AROUND)..place + AROUND);
        });
    }
    {
        let frame = frame.clone();
        use_effect_with((props.at, size, columns), move |(at, size, columns)| {
            let top = i32::try_from(at / columns * size).unwrap_or(i32::MAX);
            let height = i32::try_from(*size).unwrap_or(0);
            if let Some(frame) = frame.cast::<Element>() {
                cursor::keep_in_sight(&frame, top..top + height);
            }
        });
    }
    let onkeydown = {
        let (on_move, on_open, at) = (props.on_move.clone(), props.on_open.clone(), props.at);
        let (page, pointed) = (columns * BAND, pointed.setter());
        Callback::from(move |event: KeyboardEvent| {
            if event.ctrl_key() || event.meta_key() || event.alt_key() {
                return;
            }
            let key = event.key();
            match cursor::go(&key, at, columns, page, len) {
                Some(to) => {
                    pointed.set(None);
                    on_move.emit(to);
                }
                None if key == "Enter" => on_open.emit(at),
                None => return,
            }
            event.prevent_default();
            event.stop_propagation();
        })
    };
    let place_at = move |event: &MouseEvent| {
        let cell = |pixels: i32| usize::try_from(pixels).unwrap_or(0) / size;
        let (column, line) = (cell(event.offset_x()), cell(event.offset_y()));
        Some(line * columns + column).filter(|place| column < columns && *place < len)
    };
    let onmousemove = {
        let pointed = pointed.setter();
        Callback::from(move |event: MouseEvent| pointed.set(place_at(&event)))
    };
    let onmouseleave = {
        let pointed = pointed.setter();
        Callback::from(move |_: MouseEvent| pointed.set(None))
    };
    let onclick = {
        let on_open = props.on_open.clone();
        Callback::from(move |event: MouseEvent| {
            if let Some(place) = place_at(&event) {
                on_open.emit(place);
            }
        })
    };
    let states: Vec<TargetState> = grid.states().collect();
    let bands = states.chunks(BAND * columns).enumerate().map(|(no, states)| {
        html! { <Band key={no} states={Rc::from(states)} {columns} line={no * BAND} /> }
    });
    let said = |place: usize| {
        let state = grid.state_at(place)?;
        let row = grid.row(grid.no_at(place)?).cloned();
        Some((state, row))
    };
    let current = said(props.at);
    let label = current.as_ref().map(|(state, row)| {
        let name = row.as_ref().map(|row| row.name.clone()).unwrap_or_default();
        let why = row.as_deref().and_then(why).unwrap_or_default();
        format!("{name}, {}. {why}", words::target_state(*state).text)
    });
    let (column, line) = (props.at % columns, props.at / columns);
    html! {
        <>
            { readout(pointed.map_or(current, said)) }
            <div ref={frame} class="target-cells" role="grid" tabindex="0" aria-label="Targets"
                aria-rowcount={lines.to_string()} aria-colcount={columns.to_string()} {onkeydown}
                aria-activedescendant="target-cell" data-testid="target-cells" data-row="">
                <div role="row" class="visually-hidden" aria-rowindex={(line + 1).to_string()}>
                    <span role="gridcell" id="target-cell" aria-colindex={(column + 1).to_string()}>{ label }</span>
                </div>
                <div class="target-field" {onclick} {onmousemove} {onmouseleave}>
                    <svg aria-hidden="true" width={(columns * size).to_string()} height={(lines * size).to_string()}
                        viewBox={format!("0 0 {} {}", columns * UNIT, lines * UNIT)}>
                        { for bands }
                        if len > 0 {
                            <rect class="cell-current" width="10" height="10" x={(column * UNIT).to_string()}
                                y={(line * UNIT).to_string()} />
                        }
                    </svg>
                </div>
            </div>
        </>
    }
}

/// What is known of the cell that somebody points at, or that the keys are at.
fn readout(said: Option<(TargetState, Option<Rc<RolloutTargetView>>)>) -> Html {
    let Some((state, row)) = said else {
        return html! { <p class="target-readout"></p> };
    };
    let why = row.as_deref().and_then(why);
    html! {
        <p class="target-readout" data-testid="target-readout">
            <Badge label={words::target_state(state)} />
            if let Some(row) = &row {
                <code>{ &row.name }</code>
                <span class="target-readout-why" title={why.map(str::to_owned)}>{ why.map(words::sentence) }</span>
                <span class="faint small"><Time at={row.since} exact=true /></span>
            }
        </p>
    }
}

#[derive(Properties, PartialEq)]
struct BandProps {
    states: Rc<[TargetState]>,
    columns: usize,
    /// Its first line.
    line: usize,
}

#[component]
fn Band(props: &BandProps) -> Html {
    let BandProps { states, columns, line } = props;
    let paths = TargetState::ALL.into_iter().filter_map(|state| {
        let mut path = String::new();
        for (place, _) in states.iter().enumerate().filter(|(_, other)| **other == state) {
            let (x, y) = (place % columns * UNIT, (line + place / columns) * UNIT);
            write!(path, "M{x} {y}{}", shape(state)).expect("writing to a string cannot fail");
        }
        let class = classes!("cell", words::target_state(state).tone.class(), state.as_str());
        (!path.is_empty()).then(|| html! { <path key={state.as_str()} {class} d={path} /> })
    });
    html! { <g>{ for paths }</g> }
}

/// From the corner of a cell. What is drawn as a line has no area, and the style sheet says which are lines.
const fn shape(state: TargetState) -> &'static str {
    match state {
        // A cross.
        TargetState::Failed => "m2 2l6 6m0-6l-6 6",
        // A ring.
        TargetState::OutcomeUnknown => "m5 2l3 3-3 3-3-3z",
        // To be played.
        TargetState::Executing => "m2 1l7 4-7 4z",
        // A small square.
        TargetState::Waiting => "m3 3h4v4h-4z",
        // A dash.
        TargetState::NotStarted => "m2 5h6",
        // Full.
        TargetState::Complete => "m1 1h8v8h-8z",
        // An empty square.
        TargetState::RolledBack => "m2 2h6v6h-6z",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_sight_where_there_is_room() {
        let (size, columns) = layout(1200, 600, 10_000);
        assert_eq!((size, columns), (8, 150));
        assert!(10_000_usize.div_ceil(columns) * size <= 600);
        assert_eq!(layout(1200, 600, 100).0, MOST);
        // A phone scrolls.
        assert_eq!(layout(328, 500, 10_000), (LEAST, 41));
        assert_eq!(layout(0, 0, 10), (LEAST, 1));
    }

    #[test]
    fn no_two_states_have_the_same_shape() {
        let shapes: std::collections::BTreeSet<_> = TargetState::ALL.map(shape).into();
        assert_eq!(shapes.len(), TargetState::ALL.len());
    }
}
