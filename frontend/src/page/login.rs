//! Sign in.

use nexplane_core::api::{LoginRequest, LoginResponse};
use serde::Deserialize;
use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use crate::api;
use crate::component::icon::Mark;
use crate::component::input::TextInput;
use crate::component::problem::ProblemNote;
use crate::resource::use_mutation;
use crate::session::{Session, safe_next, take_fragment, use_session};

#[derive(Deserialize)]
struct Next {
    next: Option<String>,
}

/// The link of a replay signs its guest in.
fn invitation(fragment: &str) -> Option<LoginRequest> {
    let (email, password) = fragment.strip_prefix("email=")?.split_once("&password=")?;
    Some(LoginRequest { email: email.to_owned(), password: password.to_owned() })
}

#[component]
pub fn Login() -> Html {
    let email = use_state_eq(String::new);
    let password = use_state_eq(String::new);
    let login = use_mutation();
    let session = use_session();
    let navigator = use_navigator().expect("every page is inside the router");
    let location = use_location();
    {
        let signed_in = matches!(session.session, Session::SignedIn(_));
        use_effect_with(signed_in, move |signed_in| {
            if *signed_in {
                let next = location.and_then(|location| location.query::<Next>().ok()?.next);
                navigator.replace(&AnyRoute::new(safe_next(next.as_deref()).to_owned()));
            }
        });
    }
    let sign_in = {
        let (login, refresh) = (login.clone(), session.refresh.clone());
        move |request: LoginRequest| {
            let refresh = refresh.clone();
            login.start(
                async move { api::post::<LoginResponse>("/auth/login", &request).await },
                move |_| refresh.emit(()),
            );
        }
    };
    {
        let sign_in = sign_in.clone();
        use_effect_with((), move |()| {
            if let Some(request) = take_fragment("/login").as_deref().and_then(invitation) {
                sign_in(request);
            }
        });
    }
    let onsubmit = {
        let (email, password) = (email.clone(), password.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            sign_in(LoginRequest { email: email.trim().to_owned(), password: (*password).clone() });
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
                <h1>{ "Sign in" }</h1>
                <form {onsubmit} class="form">
                    <TextInput id="email" label="E-mail" kind="email" value={(*email).clone()}
                        on_change={setter(&email)} autocomplete="username" autofocus=true
                        testid="login-email" />
                    <TextInput id="password" label="Password" kind="password"
                        value={(*password).clone()} on_change={setter(&password)}
                        autocomplete="current-password" testid="login-password" />
                    if let Some(error) = login.error() {
                        <ProblemNote error={error.clone()} />
                    }
                    <button class="button primary wide" disabled={login.busy()}
                        data-testid="login-submit">
                        { if login.busy() { "Signing in…" } else { "Sign in" } }
                    </button>
                </form>
                <p class="faint small">
                    { "No account yet? An administrator makes one. On a new installation, open the \
                       one-time link that the server printed." }
                </p>
            </main>
        </div>
    }
}
