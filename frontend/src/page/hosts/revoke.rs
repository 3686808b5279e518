//! Shutting a host out: what happens then, a reason, and its name typed.

use nexplane_core::api::HostView;
use serde::Serialize;
use yew::prelude::*;

use crate::api;
use crate::component::dialog::Dialog;
use crate::component::input::TextInput;
use crate::component::problem::ProblemNote;
use crate::component::toast::use_toaster;
use crate::resource::use_mutation;

/// `POST /hosts/{id}/revoke`
#[derive(Serialize)]
struct RevokeRequest {
    reason: String,
}

#[derive(Properties, PartialEq)]
pub struct RevokeProps {
    pub host: HostView,
    pub on_close: Callback<()>,
    /// Gets the host as it is now.
    pub on_done: Callback<HostView>,
}

#[component]
pub fn Revoke(props: &RevokeProps) -> Html {
    let typed = use_state_eq(String::new);
    let reason = use_state_eq(String::new);
    let call = use_mutation();
    let toaster = use_toaster();
    let ready = typed.trim() == props.host.hostname && !reason.trim().is_empty();
    let onsubmit = {
        let (call, id, hostname) = (call.clone(), props.host.id, props.host.hostname.clone());
        let reason = reason.clone();
        let (on_close, on_done) = (props.on_close.clone(), props.on_done.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            if !ready {
                return;
            }
            let (on_close, on_done) = (on_close.clone(), on_done.clone());
            let (toaster, hostname) = (toaster.clone(), hostname.clone());
            let request = RevokeRequest { reason: reason.trim().to_owned() };
            call.start(
                async move { api::post::<HostView>(&format!("/hosts/{id}/revoke"), &request).await },
                move |host| {
                    toaster.say(format!("{hostname} is revoked."));
                    on_done.emit(host);
                    on_close.emit(());
                },
            );
        })
    };
    html! {
        <Dialog title={format!("Revoke {}", props.host.hostname)} on_close={props.on_close.clone()} testid="revoke-dialog">
            <form {onsubmit} class="form">
                <ul class="bullets">
                    <li>{ "Its agent is cut off within seconds, and its certificate is refused for ever." }</li>
                    <li>{ "Orders that it has not fetched are never given out. What it is doing at this moment it \
                           finishes, and cannot report any more: such a change ends as outcome unknown." }</li>
                    <li>{ "What changes did to the host stays, and cannot be undone from here." }</li>
                    <li>{ "To use the host again, enrol it again. It is a new host then." }</li>
                </ul>
                <TextInput id="revoke-reason" label="Reason" value={(*reason).clone()}
                    on_change={let reason = reason.setter(); move |text| reason.set(text)}
                    help="Everybody reads it beside the host, and it stays in the audit log." autofocus=true
                    testid="revoke-reason" />
                <TextInput id="revoke-name" label={format!("Type {} to go on", props.host.hostname)}
                    value={(*typed).clone()} on_change={let typed = typed.setter(); move |text| typed.set(text)}
                    monospace=true autocomplete="off" testid="revoke-name" />
                if let Some(error) = call.error() {
                    <ProblemNote error={error.clone()} />
                }
                <div class="actions">
                    <button class="button danger solid" disabled={!ready || call.busy()} data-testid="revoke-confirm">
                        { "Revoke" }
                    </button>
                    <button type="button" class="button" onclick={props.on_close.reform(|_: MouseEvent| ())}>{ "Back" }</button>
                </div>
            </form>
        </Dialog>
    }
}
