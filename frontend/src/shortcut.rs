//! Keys: what they mean, and the listener for the whole page.

use gloo_events::{EventListener, EventListenerOptions};
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement, KeyboardEvent};
use yew::prelude::*;

use crate::route::Route;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Go(Route),
    Search,
    Palette,
    Help,
    /// To the decision of this page.
    Decide,
    NextRow,
    PreviousRow,
}

/// For the help page: keys and what they do.
pub const HELP: [(&str, &str); 19] = [
    ("g h", "Home"),
    ("g c", "Changes"),
    ("g a", "Approvals"),
    ("g k", "Calendar"),
    ("g s", "Assets"),
    ("g n", "Connections"),
    ("g m", "Hosts"),
    ("g y", "Policies"),
    ("g r", "Risk"),
    ("g l", "Audit"),
    ("g p", "People and tokens"),
    ("g o", "Operations"),
    ("n", "New change"),
    ("j  k", "Next and previous row"),
    ("Enter", "Open the row"),
    ("d", "Decide: to the comment, when approving"),
    ("/", "Search this page"),
    ("Ctrl K", "Find anything"),
    ("?", "This help"),
];

/// What a key means after the one before it. Answers the key to remember and the command.
fn interpret(before: Option<char>, key: &str) -> (Option<char>, Option<Command>) {
    let command = match (before, key) {
        (Some('g'), "h") => Command::Go(Route::Home),
        (Some('g'), "c") => Command::Go(Route::Changes),
        (Some('g'), "a") => Command::Go(Route::Approvals),
        (Some('g'), "k") => Command::Go(Route::Calendar),
        (Some('g'), "s") => Command::Go(Route::Assets),
        (Some('g'), "n") => Command::Go(Route::Connections),
        (Some('g'), "m") => Command::Go(Route::Hosts),
        (Some('g'), "y") => Command::Go(Route::Policies),
        (Some('g'), "r") => Command::Go(Route::Risk),
        (Some('g'), "l") => Command::Go(Route::Audit),
        (Some('g'), "p") => Command::Go(Route::People),
        (Some('g'), "o") => Command::Go(Route::Operations),
        (_, "g") => return (Some('g'), None),
        (_, "n") => Command::Go(Route::NewChange),
        (_, "d") => Command::Decide,
        (_, "/") => Command::Search,
        (_, "?") => Command::Help,
        (_, "j") => Command::NextRow,
        (_, "k") => Command::PreviousRow,
        _ => return (None, None),
    };
    (None, Some(command))
}

/// Calls back for every command. Keys typed into an input are text; keys in a dialog are its own.
#[hook]
pub fn use_shortcuts(on_command: Callback<Command>) {
    let latest = use_mut_ref(|| on_command.clone());
    *latest.borrow_mut() = on_command;
    use_effect_with((), move |()| {
        let listener = web_sys::window().map(|window| {
            let mut before = None;
            // Not passive: a key that is a command must not be typed as well.
            let options = EventListenerOptions::enable_prevent_default();
            EventListener::new_with_options(&window, "keydown", options, move |event| {
                let Some(event) = event.dyn_ref::<KeyboardEvent>() else { return };
                let key = event.key();
                let modified = event.ctrl_key() || event.meta_key();
                let command = if modified && key == "k" {
                    Some(Command::Palette)
                } else if modified || event.alt_key() || is_typing(event) || dialog_is_open() {
                    before = None;
                    None
                } else {
                    let (remember, command) = interpret(before, &key);
                    before = remember;
                    command
                };
                if let Some(command) = command {
                    event.prevent_default();
                    let callback = latest.borrow().clone();
                    callback.emit(command);
                }
            })
        });
        move || drop(listener)
    });
}

fn is_typing(event: &KeyboardEvent) -> bool {
    event.target().and_then(|target| target.dyn_into::<Element>().ok()).is_some_and(|element| {
        matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT")
    })
}

fn find(selector: &str) -> Option<Element> {
    web_sys::window()?.document()?.query_selector(selector).ok()?
}

fn dialog_is_open() -> bool {
    find("dialog[open]").is_some()
}

/// Puts the cursor into the page's search; false when it has none.
pub fn focus_search() -> bool {
    focus("[data-search]")
}

/// To the first element of this kind; false when the page has none.
pub fn focus(selector: &str) -> bool {
    let element = find(selector).and_then(|element| element.dyn_into::<HtmlElement>().ok());
    element.is_some_and(|element| element.focus().is_ok())
}

/// Moves the focus from row to row; from none it goes to the first.
pub fn focus_row(forward: bool) {
    let Some(document) = web_sys::window().and_then(|window| window.document()) else { return };
    let Ok(rows) = document.query_selector_all("[data-row]") else { return };
    let active = document.active_element();
    let at = |index: u32| rows.item(index).and_then(|node| node.dyn_into::<HtmlElement>().ok());
    let current = (0..rows.length()).find(|index| {
        at(*index).map(Into::<Element>::into).is_some_and(|row| Some(&row) == active.as_ref())
    });
    let next = match (current, forward) {
        (None, _) => Some(0),
        (Some(index), true) => Some(index + 1).filter(|next| *next < rows.length()),
        (Some(index), false) => index.checked_sub(1),
    };
    if let Some(row) = next.and_then(at) {
        // Fails only for rows that just went.
        let _ = row.focus();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_make_a_way() {
        let (before, command) = interpret(None, "g");
        assert_eq!((before, command), (Some('g'), None));
        assert_eq!(interpret(before, "a"), (None, Some(Command::Go(Route::Approvals))));
        assert_eq!(interpret(before, "n"), (None, Some(Command::Go(Route::Connections))));
    }

    #[test]
    fn one_key_is_enough_for_others() {
        assert_eq!(interpret(None, "n"), (None, Some(Command::Go(Route::NewChange))));
        assert_eq!(interpret(None, "?"), (None, Some(Command::Help)));
        assert_eq!(interpret(Some('g'), "j"), (None, Some(Command::NextRow)));
    }

    #[test]
    fn other_keys_forget_what_was_before() {
        assert_eq!(interpret(Some('g'), "x"), (None, None));
        assert_eq!(interpret(None, "a"), (None, None));
    }
}
