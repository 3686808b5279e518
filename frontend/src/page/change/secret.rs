//! Secrets that the execution produced: shown once, to whoever requested the change.

use std::rc::Rc;

use nexplane_core::api::{ChangeView, RevealedSecret, SecretView};
use yew::prelude::*;

use crate::api;
use crate::component::badge::Callout;
use crate::component::copy::CopyButton;
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::problem::ProblemNote;
use crate::resource::use_mutation;
use crate::session::use_me;
use crate::words::Tone;

#[derive(Properties, PartialEq)]
pub struct SecretsProps {
    pub change: Rc<ChangeView>,
    /// It is shown as it once was; nothing can be revealed then.
    pub past: bool,
    pub on_changed: Callback<ChangeView>,
}

#[component]
pub fn Secrets(props: &SecretsProps) -> Html {
    let change = &props.change;
    let asked = use_state(|| None::<SecretView>);
    let me = use_me();
    let mine = me.is_some_and(|me| me.id == change.requester && !me.machine);
    if change.secrets.is_empty() {
        return html! {};
    }
    let rows = change.secrets.iter().map(|secret| {
        let onclick = {
            let (asked, secret) = (asked.clone(), secret.clone());
            Callback::from(move |_: MouseEvent| asked.set(Some(secret.clone())))
        };
        html! {
            <li class="secret" key={secret.id.to_string()} data-testid="secret"
                data-revealed={secret.revealed.to_string()}>
                <Icon glyph={Glyph::Key} />
                <span><b>{ &secret.name }</b></span>
                if secret.revealed {
                    <span class="faint">{ "Was shown once and cannot be shown again." }</span>
                } else if props.past {
                    <span class="faint">{ "Was not revealed by then." }</span>
                } else if mine {
                    <button type="button" class="button" {onclick} data-testid="reveal-secret">
                        { "Reveal once" }
                    </button>
                } else {
                    <span class="faint">{ "Only whoever requested the change can see it." }</span>
                }
            </li>
        }
    });
    let close = {
        let (asked, change, on_changed) =
            (asked.clone(), Rc::clone(change), props.on_changed.clone());
        Callback::from(move |shown: bool| {
            if let (true, Some(secret)) = (shown, &*asked) {
                let mut next = (*change).clone();
                for other in next.secrets.iter_mut().filter(|other| other.id == secret.id) {
                    other.revealed = true;
                }
                on_changed.emit(next);
            }
            asked.set(None);
        })
    };
    html! {
        <section class="panel" aria-labelledby="secrets-title">
            <h2 id="secrets-title">{ "Produced secrets" }</h2>
            <ul class="secrets">{ for rows }</ul>
            if let Some(secret) = &*asked {
                <Reveal secret={secret.clone()} on_close={close} />
            }
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct RevealProps {
    secret: SecretView,
    /// Whether it was shown.
    on_close: Callback<bool>,
}

#[component]
fn Reveal(props: &RevealProps) -> Html {
    let reveal = use_mutation();
    // Only here, and gone with the dialog.
    let shown = use_state(|| None::<String>);
    let id = props.secret.id;
    let onclick = {
        let (reveal, shown) = (reveal.clone(), shown.setter());
        Callback::from(move |_: MouseEvent| {
            let shown = shown.clone();
            reveal.start(
                async move { api::act::<RevealedSecret>(&format!("/secrets/{id}/reveal")).await },
                move |secret| shown.set(Some(secret.value)),
            );
        })
    };
    let on_close = props.on_close.clone();
    let was_shown = shown.is_some();
    let close = Callback::from(move |()| on_close.emit(was_shown));
    html! {
        <Dialog title={format!("Reveal {}", props.secret.name)} on_close={close.clone()}
            sticky={was_shown} testid="reveal-dialog">
            if let Some(value) = &*shown {
                <Callout tone={Tone::Waiting} glyph={Glyph::Warning}>
                    <p>{ "Store it now. When you close this, it cannot be shown again, to anybody." }</p>
                </Callout>
                <div class="secret-value">
                    <code data-testid="secret-value">{ value }</code>
                    <CopyButton text={value.clone()} what="the secret" testid="secret-copy" />
                </div>
                <div class="actions">
                    <button type="button" class="button primary" onclick={close.reform(|_: MouseEvent| ())}
                        data-testid="secret-done">{ "I have stored it" }</button>
                </div>
            } else {
                <p>{ "It is shown one single time, on this screen. That you saw it is written to the \
                      audit log." }</p>
                if let Some(error) = reveal.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button type="button" class="button primary" {onclick} disabled={reveal.busy()}
                        data-testid="reveal-confirm">{ "Show it to me" }</button>
                    <button type="button" class="button" onclick={close.reform(|_: MouseEvent| ())}>
                        { "Not now" }
                    </button>
                </div>
            }
        </Dialog>
    }
}
