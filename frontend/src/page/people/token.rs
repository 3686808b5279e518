//! API tokens: for programs, and never with more rights than their owner.

use nexplane_core::api::{Page, TokenView};
use serde::Serialize;
use yew::prelude::*;

use crate::api;
use crate::component::badge::Callout;
use crate::component::copy::CopyButton;
use crate::component::dialog::Dialog;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{Checkbox, TextInput};
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::resource::{use_mutation, use_resource};
use crate::words::Tone;

/// `POST /tokens`
#[derive(Serialize)]
struct NewToken {
    name: String,
    /// `machine` or `user`
    kind: &'static str,
}

#[component]
pub fn TokenList() -> Html {
    let tokens = use_resource::<Page<TokenView>>(Some("/tokens?limit=200".to_owned()));
    let adding = use_state_eq(|| false);
    let revoke = use_mutation();
    let show = |on: bool| {
        let adding = adding.setter();
        Callback::from(move |_: MouseEvent| adding.set(on))
    };
    let rows = tokens.value.iter().flat_map(|page| &page.items).map(|token| {
        let (revoke, tokens, id) = (revoke.clone(), tokens.clone(), token.id);
        let onclick = move |_: MouseEvent| {
            let tokens = tokens.clone();
            revoke.start(
                async move { api::delete(&format!("/tokens/{id}")).await },
                move |()| tokens.reload(),
            );
        };
        html! {
            <tr key={token.id.to_string()} data-testid="token-row">
                <td class="col-main"><b>{ &token.name }</b></td>
                <td><span class="tag">{ &token.kind }</span></td>
                <td><Time at={token.created_at} /></td>
                <td>{ token.expires_at.map_or_else(|| html! { "never" }, |at| html! { <Time {at} /> }) }</td>
                <td class="col-buttons">
                    <button type="button" class="button small danger" {onclick} data-testid="token-revoke">{ "Revoke" }</button>
                </td>
            </tr>
        }
    });
    let any = tokens.value.as_ref().is_some_and(|page| !page.items.is_empty());
    html! {
        <section class="panel flush" aria-labelledby="tokens-title">
            <div class="panel-head">
                <h2 id="tokens-title">{ "Tokens" }</h2>
                <button type="button" class="button" onclick={show(true)} data-testid="new-token">
                    <Icon glyph={Glyph::Plus} />{ "Make a token" }
                </button>
            </div>
            { for tokens.error.as_ref().or(revoke.error()).map(|error| html! { <ProblemNote error={error.clone()} /> }) }
            if any {
                <div class="table-frame inner">
                    <table class="table" data-testid="token-list">
                        <thead><tr>
                            <th scope="col">{ "Name" }</th><th scope="col">{ "Kind" }</th><th scope="col">{ "Made" }</th>
                            <th scope="col">{ "Expires" }</th>
                            <th scope="col" class="col-buttons"><span class="visually-hidden">{ "What can be done" }</span></th>
                        </tr></thead>
                        <tbody>{ for rows }</tbody>
                    </table>
                </div>
            } else if tokens.value.is_some() {
                <p class="faint panel-note">{ "No token. Programs need one to use the API; a machine token may propose \
                    changes, but never approve or execute them." }</p>
            } else if tokens.error.is_none() {
                <Skeleton lines={2} />
            }
            if *adding {
                <TokenForm on_close={let adding = adding.setter(); move |()| adding.set(false)}
                    on_made={let tokens = tokens.clone(); move |()| tokens.reload()} />
            }
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct TokenFormProps {
    on_close: Callback<()>,
    on_made: Callback<()>,
}

#[component]
fn TokenForm(props: &TokenFormProps) -> Html {
    let name = use_state_eq(String::new);
    let machine = use_state_eq(|| true);
    let create = use_mutation();
    let made = use_state(|| None::<String>);
    let onsubmit = {
        let (create, made, name, machine) = (create.clone(), made.setter(), name.clone(), *machine);
        let on_made = props.on_made.clone();
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let request = NewToken {
                name: name.trim().to_owned(),
                kind: if machine { "machine" } else { "user" },
            };
            let (made, on_made) = (made.clone(), on_made.clone());
            create.start(
                async move { api::post::<TokenView>("/tokens", &request).await },
                move |token| {
                    on_made.emit(());
                    made.set(token.token);
                },
            );
        })
    };
    let close = props.on_close.reform(|_: MouseEvent| ());
    html! {
        <Dialog title="Make a token" on_close={props.on_close.clone()} sticky={made.is_some()} testid="token-form">
            if let Some(token) = &*made {
                <Callout tone={Tone::Waiting} glyph={Glyph::Warning}>
                    <p>{ "Store it now. It cannot be shown again." }</p>
                </Callout>
                <div class="secret-value">
                    <code data-testid="token-value">{ token }</code>
                    <CopyButton text={token.clone()} what="the token" />
                </div>
                <div class="actions">
                    <button type="button" class="button primary" onclick={close} data-testid="token-done">{ "I have stored it" }</button>
                </div>
            } else {
                <form {onsubmit} class="form">
                    <TextInput id="token-name" label="Name" value={(*name).clone()} autofocus=true testid="token-name"
                        help="Which program uses it, and where." autocomplete="off"
                        on_change={let name = name.setter(); move |text| name.set(text)} />
                    <Checkbox id="token-machine" label="For a machine" checked={*machine} testid="token-machine"
                        help="May propose and read; never approve, execute or override."
                        on_change={let machine = machine.setter(); move |on| machine.set(on)} />
                    if let Some(error) = create.error() {
                        <ProblemNote error={error.clone()} />
                    }
                    <div class="actions">
                        <button class="button primary" disabled={create.busy() || name.trim().is_empty()} data-testid="token-save">{ "Make it" }</button>
                        <button type="button" class="button" onclick={close}>{ "Back" }</button>
                    </div>
                </form>
            }
        </Dialog>
    }
}
