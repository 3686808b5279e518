//! The first administrator, made with the one-time link that the server printed.

use nexplane_core::api::FirstRunRequest;
use yew::prelude::*;
use yew_router::prelude::*;

use crate::api;
use crate::component::badge::Callout;
use crate::component::icon::{Glyph, Mark};
use crate::component::input::TextInput;
use crate::component::problem::ProblemNote;
use crate::resource::use_mutation;
use crate::route::Route;
use crate::session::{Session, take_fragment, use_session};
use crate::words::Tone;

/// What the server accepts too; said before the form is sent.
const LEAST_PASSWORD: usize = 8;

#[component]
pub fn FirstRun() -> Html {
    let email = use_state_eq(String::new);
    let name = use_state_eq(String::new);
    let password = use_state_eq(String::new);
    let token = use_state_eq(|| None::<String>);
    let create = use_mutation();
    let session = use_session();
    let navigator = use_navigator().expect("every page is inside the router");
    {
        let token = token.setter();
        use_effect_with((), move |()| token.set(take_token()));
    }
    {
        let signed_in = matches!(session.session, Session::SignedIn(_));
        use_effect_with(signed_in, move |signed_in| {
            if *signed_in {
                navigator.replace(&Route::Home);
            }
        });
    }
    let short = password.chars().count() < LEAST_PASSWORD;
    let ready = !short && !name.trim().is_empty() && email.contains('@');
    let onsubmit = {
        let (create, refresh) = (create.clone(), session.refresh.clone());
        let (email, name, password, token) =
            (email.clone(), name.clone(), password.clone(), token.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let request = FirstRunRequest {
                token: (*token).clone().unwrap_or_default(),
                email: email.trim().to_owned(),
                name: name.trim().to_owned(),
                password: (*password).clone(),
            };
            let refresh = refresh.clone();
            create.start(
                async move { api::post::<serde_json::Value>("/auth/first-run", &request).await },
                move |_| refresh.emit(()),
            );
        })
    };
    let setter = |state: &UseStateHandle<String>| {
        let state = state.setter();
        Callback::from(move |text| state.set(text))
    };
    html! {
        <div class="gate">
            <main class="gate-card">
                <p class="brand"><Mark />{ "Nexplane" }</p>
                <h1>{ "Make the first administrator" }</h1>
                <p class="lead">
                    { "This link works once. The administrator makes all other people, connections \
                       and policies." }
                </p>
                if token.is_none() {
                    <Callout tone={Tone::Failed} glyph={Glyph::Warning} testid="first-run-no-token">
                        <p>{ "This address has no token. Open the whole link that the server \
                              printed when it started, with the part after #." }</p>
                    </Callout>
                }
                <form {onsubmit} class="form">
                    <TextInput id="name" label="Name" value={(*name).clone()} on_change={setter(&name)}
                        autocomplete="name" autofocus=true testid="first-run-name" />
                    <TextInput id="email" label="E-mail" kind="email" value={(*email).clone()}
                        on_change={setter(&email)} autocomplete="username" testid="first-run-email" />
                    <TextInput id="password" label="Password" kind="password"
                        value={(*password).clone()} on_change={setter(&password)}
                        help={format!("At least {LEAST_PASSWORD} characters.")}
                        autocomplete="new-password" testid="first-run-password" />
                    if let Some(error) = create.error() {
                        <ProblemNote error={error.clone()} />
                    }
                    <button class="button primary wide" data-testid="first-run-submit"
                        disabled={create.busy() || !ready || token.is_none()}>
                        { if create.busy() { "Making it…" } else { "Make administrator" } }
                    </button>
                </form>
            </main>
        </div>
    }
}

/// The token is after the `#`, which browsers never send. It leaves the address bar at once, so that
/// nobody copies it from there.
fn take_token() -> Option<String> {
    let token = take_fragment("/first-run")?.strip_prefix("token=")?.to_owned();
    Some(token).filter(|token| !token.is_empty())
}
