//! Who is signed in.

use std::rc::Rc;

use nexplane_core::actor::Role;
use nexplane_core::api::Me;
use wasm_bindgen_futures::spawn_local;
use yew::prelude::*;

use crate::api::{self, ApiError};

#[derive(Clone, Debug, PartialEq)]
pub enum Session {
    /// Not asked yet.
    Unknown,
    SignedOut,
    SignedIn(Rc<Me>),
    /// The server did not answer.
    Failed(ApiError),
}

#[derive(Clone, PartialEq)]
pub struct SessionContext {
    pub session: Session,
    /// Asks the server again, as after signing in.
    pub refresh: Callback<()>,
    pub sign_out: Callback<()>,
}

#[derive(Properties, PartialEq)]
pub struct SessionProviderProps {
    pub children: Html,
}

#[component]
pub fn SessionProvider(props: &SessionProviderProps) -> Html {
    let session = use_state_eq(|| Session::Unknown);
    let refresh = use_callback((), {
        let session = session.setter();
        move |(), ()| {
            let session = session.clone();
            spawn_local(async move {
                session.set(match api::get::<Me>("/auth/me").await {
                    Ok(me) => Session::SignedIn(Rc::new(me)),
                    Err(error) if error.status() == Some(401) => Session::SignedOut,
                    Err(error) => Session::Failed(error),
                });
            });
        }
    });
    let sign_out = use_callback((), {
        let session = session.setter();
        move |(), ()| {
            let session = session.clone();
            spawn_local(async move {
                // The cookie may be void already; the result for the person is the same.
                drop(api::act::<serde_json::Value>("/auth/logout").await);
                session.set(Session::SignedOut);
            });
        }
    });
    {
        let (session, refresh) = (session.setter(), refresh.clone());
        use_effect_with((), move |()| {
            api::on_signed_out(Callback::from(move |()| session.set(Session::SignedOut)));
            refresh.emit(());
        });
    }
    let context = SessionContext { session: (*session).clone(), refresh, sign_out };
    html! {
        <ContextProvider<SessionContext> {context}>
            { props.children.clone() }
        </ContextProvider<SessionContext>>
    }
}

#[hook]
pub fn use_session() -> SessionContext {
    use_context().expect("every page is inside the SessionProvider")
}

/// The person who is signed in; pages inside the shell have one.
#[hook]
pub fn use_me() -> Option<Rc<Me>> {
    match use_session().session {
        Session::SignedIn(me) => Some(me),
        Session::Unknown | Session::SignedOut | Session::Failed(_) => None,
    }
}

/// What the address has after '#', which is then taken out of the address bar: it is a secret.
pub fn take_fragment(path: &str) -> Option<String> {
    let window = web_sys::window()?;
    let fragment = window.location().hash().ok()?.strip_prefix('#')?.to_owned();
    let history = window.history().ok()?;
    // Failing only leaves the address as it was.
    let _ = history.replace_state_with_url(&wasm_bindgen::JsValue::NULL, "", Some(path));
    Some(fragment)
}

pub fn has(me: Option<&Me>, role: Role) -> bool {
    me.is_some_and(|me| me.roles.contains(&role))
}

/// Whether the person may read the audit log, and so an event by itself.
#[hook]
pub fn use_may_audit() -> bool {
    let me = use_me();
    has(me.as_deref(), Role::Auditor) || has(me.as_deref(), Role::Admin)
}

/// Where to go after signing in: a path of this dashboard, never another site.
pub fn safe_next(next: Option<&str>) -> &str {
    match next {
        Some(path)
            if path.starts_with('/')
                && !path.starts_with("//")
                && !path.contains('\\')
                && !path.starts_with("/login") =>
        {
            path
        }
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_on_this_site() {
        assert_eq!(safe_next(Some("/audit?q=x")), "/audit?q=x");
        for outside in ["//evil.example", "/\\evil.example", "https://evil.example", "", "/login"] {
            assert_eq!(safe_next(Some(outside)), "/");
        }
        assert_eq!(safe_next(None), "/");
    }
}
