//! Reads the grid: its order at once, rows where somebody looks, and what moved when it is told.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use nexplane_core::api::{Page, RolloutTargetOrder, RolloutTargetView, TargetState};
use nexplane_core::id::ChangeId;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use super::grid::Grid;
use crate::api::{self, ApiError};
use crate::query;

/// Pages of what moved. When there are more, where all targets are is shorter.
const MOST_PAGES: usize = 3;

/// Which targets the grid has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub state: String,
    pub q: String,
}

impl Asked {
    fn states(&self) -> Vec<TargetState> {
        let words: Vec<_> = self.state.split(',').collect();
        TargetState::ALL.into_iter().filter(|state| words.contains(&state.as_str())).collect()
    }
}

struct Reading {
    path: String,
    asked: RefCell<Asked>,
    grid: RefCell<Grid>,
    /// Whether the order has been read.
    ready: Cell<bool>,
    error: RefCell<Option<ApiError>>,
    /// Number of the newest order; answers of older ones come too late.
    order: Cell<u32>,
    /// The places that somebody looks at.
    seen: RefCell<Range<usize>>,
    reads_rows: Cell<bool>,
    follows: Cell<bool>,
    /// Told since it was last asked what moved.
    heard: Cell<Option<u64>>,
    /// Something is another than it was.
    changed: RefCell<Callback<()>>,
}

/// The grid as it is read; all clones are the same one.
#[derive(Clone)]
pub struct Source {
    reading: Rc<Reading>,
    /// Another with every change.
    version: u32,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.reading, &other.reading) && self.version == other.version
    }
}

impl Source {
    pub fn grid(&self) -> std::cell::Ref<'_, Grid> {
        self.reading.grid.borrow()
    }

    pub fn ready(&self) -> bool {
        self.reading.ready.get()
    }

    pub fn error(&self) -> Option<ApiError> {
        self.reading.error.borrow().clone()
    }

    /// Lays it out anew.
    pub fn lay_out(&self) {
        lay_out(&self.reading);
    }

    /// Somebody looks at these places.
    pub fn look_at(&self, places: Range<usize>) {
        self.reading.seen.replace(places);
        read_rows(&self.reading);
    }

    /// Something moved, up to this position; `None` when nobody knows what was missed.
    pub fn hear(&self, position: Option<u64>) {
        let reading = &self.reading;
        match position {
            Some(position) => {
                reading.heard.set(reading.heard.get().max(Some(position)));
                follow(reading);
            }
            None => restate(reading),
        }
    }

    /// What targets wait for may be another thing now.
    pub fn forget_what_waits(&self) {
        self.reading.grid.borrow_mut().forget_what_waits();
        read_rows(&self.reading);
    }
}

#[hook]
pub fn use_source(change: ChangeId, asked: Asked) -> Source {
    let version = use_state(|| 0_u32);
    let reading = use_memo(change, |change| Reading {
        path: format!("/change-requests/{change}/targets"),
        asked: RefCell::default(),
        grid: RefCell::default(),
        ready: Cell::new(false),
        error: RefCell::default(),
        order: Cell::new(0),
        seen: RefCell::new(0..0),
        reads_rows: Cell::new(false),
        follows: Cell::new(false),
        heard: Cell::new(None),
        changed: RefCell::default(),
    });
    {
        let counter = use_mut_ref(|| 0_u32);
        let setter = version.setter();
        reading.changed.replace(Callback::from(move |()| {
            let mut counter = counter.borrow_mut();
            *counter = counter.wrapping_add(1);
            setter.set(*counter);
        }));
    }
    {
        let reading = Rc::clone(&reading);
        use_effect_with(asked, move |asked| {
            reading.asked.replace(asked.clone());
            lay_out(&reading);
        });
    }
    Source { reading, version: *version }
}

impl Reading {
    fn say(&self, error: Option<ApiError>) {
        self.error.replace(error);
        let changed = self.changed.borrow().clone();
        changed.emit(());
    }

    fn order_path(&self, asked: &Asked) -> String {
        let pairs = [("state", asked.state.as_str()), ("q", asked.q.as_str())];
        query::with(&format!("{}/order", self.path), &pairs)
    }
}

fn lay_out(reading: &Rc<Reading>) {
    let number = reading.order.get().wrapping_add(1);
    reading.order.set(number);
    let reading = Rc::clone(reading);
    spawn_local(async move {
        let asked = reading.asked.borrow().clone();
        let answer = api::get::<RolloutTargetOrder>(&reading.order_path(&asked)).await;
        if reading.order.get() != number {
            return;
        }
        match answer {
            Ok(order) => {
                let laid_out = Grid::new(&order, asked.states(), asked.q.is_empty());
                reading.grid.borrow_mut().lay_out(laid_out);
                reading.ready.set(true);
                reading.say(None);
                read_rows(&reading);
            }
            Err(error) => reading.say(Some(error)),
        }
    });
}

/// One call at a time, and always for where somebody looks now: what they passed by is not read.
fn read_rows(reading: &Rc<Reading>) {
    if reading.reads_rows.replace(true) {
        return;
    }
    let reading = Rc::clone(reading);
    spawn_local(async move {
        loop {
            let seen = reading.seen.borrow().clone();
            let numbers = reading.grid.borrow().missing(seen);
            if numbers.is_empty() {
                break;
            }
            let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
            let path = format!("{}?no={}", reading.path, numbers.join(","));
            match api::get::<Page<RolloutTargetView>>(&path).await {
                Ok(page) if !page.items.is_empty() => {
                    reading.grid.borrow_mut().take(page.items);
                    reading.say(None);
                }
                // Another plan has other targets: where they are has to be read again.
                Ok(_) => break,
                Err(error) => {
                    reading.say(Some(error));
                    break;
                }
            }
        }
        reading.reads_rows.set(false);
    });
}

/// Asks what moved, once at a time; what is told meanwhile is asked for afterwards.
fn follow(reading: &Rc<Reading>) {
    if reading.follows.replace(true) {
        return;
    }
    let reading = Rc::clone(reading);
    spawn_local(async move {
        while let Some(position) = reading.heard.take() {
            if !reading.ready.get() {
                continue; // it is about to be laid out as it is now
            }
            let since = reading.grid.borrow().position().to_string();
            let path = query::with(&reading.path, &[("since", &since), ("limit", "200")]);
            let (mut cursor, mut pages) = (String::new(), 0);
            loop {
                let address = query::with(&path, &[("cursor", &cursor)]);
                let answer = api::get_at::<Page<RolloutTargetView>>(&address, Some(position)).await;
                // The next notice asks for it again.
                let Ok(page) = answer else { break };
                reading.grid.borrow_mut().follow(page.items);
                pages += 1;
                match page.next_cursor {
                    Some(next) if pages < MOST_PAGES => cursor = next,
                    Some(_) => {
                        restate(&reading);
                        break;
                    }
                    None => break,
                }
            }
            reading.say(None);
        }
        reading.follows.set(false);
    });
}

/// Reads where all targets are, and leaves them in their places.
fn restate(reading: &Rc<Reading>) {
    let reading = Rc::clone(reading);
    spawn_local(async move {
        let path = reading.order_path(&Asked::default());
        if let Ok(order) = api::get::<RolloutTargetOrder>(&path).await {
            reading.grid.borrow_mut().restate(&order);
            reading.say(None);
            read_rows(&reading);
        }
    });
}
