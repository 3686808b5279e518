//! The key that the log is checked with: the one that the server shows, and the one that was pinned.

use nexplane_core::proof::note::VerifierKey;
use yew::prelude::*;

use crate::component::copy::CopyButton;
use crate::component::input::TextInput;
use crate::storage;

/// The pinned verifier key, as c2sp.org/signed-note writes it.
const PINNED: &str = "nexplane.log_key";

pub fn pinned() -> Option<String> {
    storage::read(PINNED)
}

#[derive(Properties, PartialEq)]
pub struct LogKeyProps {
    /// What the server shows; nothing when it has none.
    pub shown: Option<AttrValue>,
    pub pinned: Option<AttrValue>,
    /// Another key is pinned now, or none.
    pub on_pin: Callback<()>,
}

/// Shows the keys and lets the person pin one.
#[component]
pub fn LogKey(props: &LogKeyProps) -> Html {
    let typed = use_state_eq(String::new);
    let error = use_state_eq(|| None::<AttrValue>);
    let pin = {
        let (on_pin, error) = (props.on_pin.clone(), error.setter());
        Callback::from(move |key: Option<String>| match key.as_deref().map(str::trim) {
            Some(key) if key.parse::<VerifierKey>().is_err() => {
                error.set(Some("This is no verifier key: <name>+<8 digits>+<base64>.".into()));
            }
            key => {
                storage::write(PINNED, key);
                error.set(None);
                on_pin.emit(());
            }
        })
    };
    let onsubmit = {
        let (pin, typed) = (pin.clone(), typed.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            pin.emit(Some((*typed).clone()));
            typed.set(String::new());
        })
    };
    let same = props.pinned.is_some() && props.pinned == props.shown;
    let pin_shown = props.shown.clone().filter(|_| props.pinned.is_none()).map(|shown| {
        let pin = pin.clone();
        html! {
            <button type="button" class="button small" data-testid="key-pin"
                onclick={move |_| pin.emit(Some(shown.to_string()))}>
                { "It is the one I keep: pin it" }
            </button>
        }
    });
    let unpin = props.pinned.is_some().then(|| {
        let pin = pin.clone();
        html! {
            <button type="button" class="button small" data-testid="key-unpin"
                onclick={move |_| pin.emit(None)}>{ "Forget the pinned key" }</button>
        }
    });
    html! {
        <>
            if let Some(shown) = &props.shown {
                { line(if same { "Shown by this server, and pinned" } else { "Shown by this server" },
                    shown, "key-shown") }
            }
            if let Some(pinned) = props.pinned.as_ref().filter(|_| !same) {
                { line("Pinned in this browser", pinned, "key-pinned") }
            }
            <p class="actions">{ for pin_shown }{ for unpin }</p>
            if props.pinned.is_none() {
                <details class="key-more">
                    <summary>{ "Pin a key from elsewhere" }</summary>
                    <form class="form tight key-form" {onsubmit}>
                        <TextInput id="key" label="Verifier key" value={(*typed).clone()} monospace=true
                            on_change={let typed = typed.setter(); move |text| typed.set(text)}
                            error={(*error).clone()} autocomplete="off" testid="key-input"
                            help="One line, as 'nexplane keys show log' prints it on the machine that seals." />
                        <div class="actions">
                            <button class="button small" disabled={typed.trim().is_empty()}
                                data-testid="key-save">{ "Pin" }</button>
                        </div>
                    </form>
                </details>
            }
        </>
    }
}

fn line(what: &'static str, key: &AttrValue, testid: &'static str) -> Html {
    html! {
        <div class="key">
            <span class="faint small">{ what }</span>
            <code class="wrap-any" data-testid={testid}>{ key }</code>
            <CopyButton text={key.clone()} what="the key" />
        </div>
    }
}
