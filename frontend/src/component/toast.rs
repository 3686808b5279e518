//! Short messages that come and go, read out by screen readers.

use std::rc::Rc;

use gloo_timers::callback::Timeout;
use yew::prelude::*;

use super::icon::{Glyph, Icon};

const SHOWN_MS: u32 = 6_000;
/// More would cover the page.
const AT_MOST: usize = 3;

#[derive(Clone, PartialEq)]
struct Toast {
    number: u32,
    text: String,
}

#[derive(Clone, Default, PartialEq)]
struct Toasts {
    list: Vec<Toast>,
    next: u32,
}

enum Step {
    Show(String),
    Remove(u32),
}

impl Reducible for Toasts {
    type Action = Step;

    fn reduce(self: Rc<Self>, step: Step) -> Rc<Self> {
        let mut toasts = (*self).clone();
        match step {
            Step::Show(text) => {
                toasts.list.push(Toast { number: toasts.next, text });
                toasts.next += 1;
                let surplus = toasts.list.len().saturating_sub(AT_MOST);
                toasts.list.drain(..surplus);
            }
            Step::Remove(number) => toasts.list.retain(|toast| toast.number != number),
        }
        Rc::new(toasts)
    }
}

/// Shows messages.
#[derive(Clone, PartialEq)]
pub struct Toaster(UseReducerDispatcher<Toasts>);

impl Toaster {
    pub fn say(&self, text: impl Into<String>) {
        self.0.dispatch(Step::Show(text.into()));
    }
}

#[derive(Properties, PartialEq)]
pub struct ToastProviderProps {
    pub children: Html,
}

#[component]
pub fn ToastProvider(props: &ToastProviderProps) -> Html {
    let toasts = use_reducer_eq(Toasts::default);
    let remove = {
        let dispatcher = toasts.dispatcher();
        Callback::from(move |number| dispatcher.dispatch(Step::Remove(number)))
    };
    html! {
        <ContextProvider<Toaster> context={Toaster(toasts.dispatcher())}>
            { props.children.clone() }
            <div class="toasts" role="status" aria-live="polite">
                { for toasts.list.iter().map(|toast| html! {
                    <ToastCard key={toast.number} toast={toast.clone()} remove={remove.clone()} />
                }) }
            </div>
        </ContextProvider<Toaster>>
    }
}

#[derive(Properties, PartialEq)]
struct ToastCardProps {
    toast: Toast,
    remove: Callback<u32>,
}

#[component]
fn ToastCard(props: &ToastCardProps) -> Html {
    let Toast { number, text } = props.toast.clone();
    {
        let remove = props.remove.clone();
        use_effect_with(number, move |number| {
            let number = *number;
            let timer = Timeout::new(SHOWN_MS, move || remove.emit(number));
            move || drop(timer)
        });
    }
    let remove = props.remove.clone();
    html! {
        <div class="toast" data-testid="toast">
            <Icon glyph={Glyph::Info} />
            <p>{ text }</p>
            <button type="button" class="button small quiet icon-only" aria-label="Dismiss"
                onclick={move |_| remove.emit(number)}>
                <Icon glyph={Glyph::Cross} />
            </button>
        </div>
    }
}

#[hook]
pub fn use_toaster() -> Toaster {
    use_context().expect("every page is inside the ToastProvider")
}
