//! Copying to the clipboard.

use gloo_timers::callback::Timeout;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use yew::prelude::*;

use super::icon::{Glyph, Icon};

#[derive(Properties, PartialEq)]
pub struct CopyProps {
    pub text: AttrValue,
    /// What it is, for "Copy …".
    pub what: AttrValue,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
}

#[derive(Clone, Copy, PartialEq)]
enum Copied {
    NotYet,
    Yes,
    /// The browser did not allow it.
    No,
}

#[component]
pub fn CopyButton(props: &CopyProps) -> Html {
    let copied = use_state_eq(|| Copied::NotYet);
    let onclick = {
        let (copied, text) = (copied.setter(), props.text.clone());
        Callback::from(move |_: MouseEvent| {
            let (copied, text) = (copied.clone(), text.clone());
            spawn_local(async move {
                let clipboard = web_sys::window().map(|window| window.navigator().clipboard());
                let done = match clipboard {
                    // Absent on pages without TLS, where calling it throws.
                    Some(clipboard) if !clipboard.is_undefined() => {
                        JsFuture::from(clipboard.write_text(&text)).await.is_ok()
                    }
                    _ => false,
                };
                copied.set(if done { Copied::Yes } else { Copied::No });
                Timeout::new(2_000, move || copied.set(Copied::NotYet)).forget();
            });
        })
    };
    let (glyph, word) = match *copied {
        Copied::NotYet => (Glyph::Copy, "Copy"),
        Copied::Yes => (Glyph::Check, "Copied"),
        Copied::No => (Glyph::Cross, "Select and copy by hand"),
    };
    html! {
        <button type="button" class="button small quiet" {onclick} data-testid={props.testid.clone()}
            aria-label={format!("Copy {}", props.what)}>
            <Icon {glyph} /><span aria-live="polite">{ word }</span>
        </button>
    }
}
