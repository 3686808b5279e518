//! The way around a sandbox: a card in the corner that points at the real things and leads through a real change.
//!
//! Only where the server says that it is a sandbox. How far somebody came is remembered in their browser. The card
//! covers nothing by itself until somebody begins; nothing on the page moves for it.

mod steps;

use gloo_timers::callback::Interval;
use nexplane_core::id::PersonId;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement};
use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use self::steps::{Place, Step, steps};
use super::icon::{Glyph, Icon};
use crate::route::Route;
use crate::session::use_me;
use crate::storage;

/// Milliseconds after which it is looked again for what the step points at: pages are read first.
const LOOK_MS: u32 = 250;

/// How far somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not in a sandbox, or nobody is there to be shown around.
    Absent,
    Invited,
    At(usize),
    Over,
}

/// The tour of the person who is signed in.
#[derive(Clone, PartialEq)]
pub struct Tour {
    pub progress: Progress,
    pub set: Callback<Progress>,
    /// How many steps there are.
    pub count: usize,
}

fn key(person: PersonId) -> String {
    format!("nexplane-tour-{person}")
}

fn read(text: Option<&str>, count: usize) -> Progress {
    match text {
        None => Progress::Invited,
        Some("over") => Progress::Over,
        Some(step) => match step.parse::<usize>() {
            Ok(step) if step < count => Progress::At(step),
            Ok(_) | Err(_) => Progress::Over,
        },
    }
}

fn written(progress: Progress) -> Option<String> {
    match progress {
        Progress::Absent | Progress::Invited => None,
        Progress::At(step) => Some(step.to_string()),
        Progress::Over => Some("over".to_owned()),
    }
}

#[derive(Properties, PartialEq)]
pub struct TourProviderProps {
    pub children: Html,
}

#[component]
pub fn TourProvider(props: &TourProviderProps) -> Html {
    let me = use_me();
    let person = me.as_ref().filter(|me| me.demo).map(|me| me.id);
    let count = me.as_deref().map_or(0, |me| steps(&me.roles).len());
    let progress = use_state_eq(|| match person {
        Some(person) if count > 0 => read(storage::read(&key(person)).as_deref(), count),
        Some(_) | None => Progress::Absent,
    });
    let set = {
        let progress = progress.setter();
        use_callback(person, move |now: Progress, person| {
            if let Some(person) = person {
                storage::write(&key(*person), written(now).as_deref());
                progress.set(now);
            }
        })
    };
    let context = Tour { progress: *progress, set, count };
    html! {
        <ContextProvider<Tour> {context}>{ props.children.clone() }</ContextProvider<Tour>>
    }
}

#[hook]
pub fn use_tour() -> Tour {
    use_context().expect("every page is inside the TourProvider")
}

/// Asks whether to be shown around; part of a page, so that it covers nothing.
#[component]
pub fn Invitation() -> Html {
    let Tour { progress, set, count } = use_tour();
    if progress != Progress::Invited {
        return html! {};
    }
    let begin = set.reform(|_: MouseEvent| Progress::At(0));
    let decline = set.reform(|_: MouseEvent| Progress::Over);
    html! {
        <section class="panel tour-invitation" aria-labelledby="tour-title" data-testid="tour-invitation">
            <div>
                <h2 id="tour-title">{ "New here?" }</h2>
                <p class="faint">
                    { format!("A sandbox of real servers, to try things in. {count} steps show what your \
                               role does, with a real change.") }
                </p>
            </div>
            <div class="actions">
                <button type="button" class="button primary" onclick={begin} data-testid="tour-begin">
                    { "Show me around" }
                </button>
                <button type="button" class="button quiet" onclick={decline} data-testid="tour-decline">
                    { "No, thanks" }
                </button>
            </div>
        </section>
    }
}

/// The card with the present step.
#[component]
pub fn TourCard() -> Html {
    let tour = use_tour();
    let me = use_me();
    let all = me.as_deref().map(|me| steps(&me.roles)).unwrap_or_default();
    let Progress::At(index) = tour.progress else { return html! {} };
    let Some(step) = all.get(index) else { return html! {} };
    html! { <Card key={index} {index} step={*step} next={all.get(index + 1).copied()} /> }
}

#[derive(Properties, PartialEq)]
struct CardProps {
    index: usize,
    step: Step,
    next: Option<Step>,
}

#[component]
fn Card(props: &CardProps) -> Html {
    let CardProps { index, step, next } = *props;
    let Tour { set, count, .. } = use_tour();
    let navigator = use_navigator().expect("the tour is inside the router");
    let route = use_route::<Route>();
    // To where the step is, when it has an address.
    {
        let navigator = navigator.clone();
        use_effect_with((), move |()| {
            if let Place::At(address) = step.place {
                navigator.push(&AnyRoute::new(address));
            }
        });
    }
    let is_found = use_state_eq(|| false);
    {
        let is_found = is_found.setter();
        use_effect_with((), move |()| {
            let look = move || is_found.set(mark(step.testid));
            look();
            let ticks = Interval::new(LOOK_MS, look);
            move || {
                drop(ticks);
                unmark();
            }
        });
    }
    // Whoever follows the pointer goes on.
    {
        let (set, is_first) = (set.clone(), use_mut_ref(|| true));
        use_effect_with(route, move |route| {
            // Where the step begins leads nowhere.
            if is_first.replace(false) {
                return;
            }
            let leads = next.is_some_and(|next| step.press && next.place.is(*route));
            if leads {
                set.emit(Progress::At(index + 1));
            }
        });
    }
    let onnext = {
        let set = set.clone();
        Callback::from(move |_: MouseEvent| {
            if step.press
                && let Some(target) =
                    find(step.testid).and_then(|found| found.dyn_into::<HtmlElement>().ok())
            {
                // Where it leads to is the next step.
                target.click();
            } else {
                set.emit(if next.is_some() { Progress::At(index + 1) } else { Progress::Over });
            }
        })
    };
    let onback = set.reform(move |_: MouseEvent| Progress::At(index.saturating_sub(1)));
    let leave = set.reform(|_: MouseEvent| Progress::Over);
    let onkeydown = {
        let set = set.clone();
        Callback::from(move |event: KeyboardEvent| {
            if event.key() == "Escape" {
                set.emit(Progress::Over);
            }
        })
    };
    let word = match (step.press, next.is_some()) {
        (true, _) => "Open it",
        (false, true) => "Next",
        (false, false) => "Done",
    };
    html! {
        <section class="tour" aria-label="Tour" {onkeydown} data-testid="tour" data-step={index.to_string()}
            data-found={is_found.to_string()}>
            <header class="tour-head">
                <span class="faint small">{ format!("{} of {count}", index + 1) }</span>
                <button type="button" class="button quiet icon-only" aria-label="Leave the tour"
                    title="Leave the tour" onclick={leave} data-testid="tour-leave">
                    <Icon glyph={Glyph::Cross} />
                </button>
            </header>
            <div aria-live="polite">
                <h2>{ step.title }</h2>
                <p>{ step.text }</p>
            </div>
            <div class="actions tour-actions">
                if index > 0 {
                    <button type="button" class="button quiet small" onclick={onback}
                        data-testid="tour-back">{ "Back" }</button>
                }
                <button type="button" class="button primary small" onclick={onnext}
                    data-testid="tour-next">{ word }</button>
            </div>
        </section>
    }
}

fn find(testid: &str) -> Option<Element> {
    web_sys::window()?.document()?.query_selector(&format!("main [data-testid='{testid}']")).ok()?
}

/// Points at it, wherever it is by now; whether it is there.
fn mark(testid: &str) -> bool {
    let Some(target) = find(testid) else { return false };
    if !target.has_attribute("data-tour") {
        unmark();
        // Fails only for names that are none.
        let _ = target.set_attribute("data-tour", "");
        target.scroll_into_view_with_bool(false);
    }
    true
}

fn unmark() {
    let document = web_sys::window().and_then(|window| window.document());
    if let Some(marked) =
        document.and_then(|document| document.query_selector("[data-tour]").ok()?)
    {
        // The same.
        let _ = marked.remove_attribute("data-tour");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_where_it_goes_on() {
        assert_eq!(read(None, 5), Progress::Invited);
        assert_eq!(read(Some("3"), 5), Progress::At(3));
        for over in ["over", "5", "x", "-1"] {
            assert_eq!(read(Some(over), 5), Progress::Over, "{over}");
        }
        for progress in [Progress::Invited, Progress::At(2), Progress::Over] {
            assert_eq!(read(written(progress).as_deref(), 5), progress);
        }
    }
}
