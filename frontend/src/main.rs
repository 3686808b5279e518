//! The dashboard: a single page, compiled to WebAssembly, that shows the REST API's rows and keeps
//! them current over one WebSocket.
//!
//! What is decided is decided by the server: whether a button works is what the row's `allowed` says,
//! and every sentence about a state comes with the row. Deliberately absent: a copy of any rule of
//! `nexplane-core`, and state that outlives the page (except the
//! chosen theme, the pinned key of the log, the draft of a policy, the last visit, what was chosen last, and the
//! progress of a tour).

mod api;
mod clock;
mod component;
mod diff;
mod format;
mod graph;
mod live;
mod merge;
mod moved;
mod page;
mod policy_text;
mod proof;
mod query;
mod resource;
mod route;
mod schema;
mod search;
mod secret_place;
mod session;
mod shortcut;
mod storage;
mod theme;
mod timeline;
mod words;

use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use component::icon::Glyph;
use component::inbox::InboxProvider;
use component::problem::ProblemNote;
use component::shell::Shell;
use component::skeleton::Skeleton;
use component::time::NowProvider;
use component::toast::ToastProvider;
use component::tour::TourProvider;
use live::LiveProvider;
use route::Route;
use session::{Session, SessionProvider, use_session};

fn main() {
    theme::apply(theme::remembered());
    yew::Renderer::<App>::new().render();
}

#[component]
fn App() -> Html {
    html! {
        <BrowserRouter>
            <NowProvider>
                <ToastProvider>
                    <SessionProvider>
                        <Pages />
                    </SessionProvider>
                </ToastProvider>
            </NowProvider>
        </BrowserRouter>
    }
}

/// The pages without a session, and the gate before all others.
#[component]
fn Pages() -> Html {
    let route = use_route::<Route>().unwrap_or(Route::NotFound);
    let context = use_session();
    match (route, &context.session) {
        (Route::Login, _) => html! { <page::login::Login /> },
        (Route::FirstRun, _) => html! { <page::first_run::FirstRun /> },
        (_, Session::Unknown) => html! { <div class="boot"><Skeleton lines={6} /></div> },
        (_, Session::Failed(error)) => html! {
            <div class="boot">
                <ProblemNote error={error.clone()} retry={context.refresh.clone()} />
            </div>
        },
        (_, Session::SignedOut) => html! { <ToLogin /> },
        // On paper there is nothing around it, and it stays as it was printed.
        (Route::Report { id }, Session::SignedIn(_)) => {
            html! { <page::report::Report key={id.to_string()} {id} /> }
        }
        (_, Session::SignedIn(me)) => html! {
            // Another person is another page: nothing of the first stays.
            <LiveProvider key={me.id.to_string()}>
                <InboxProvider>
                    <TourProvider>
                        <Shell {route}>{ page(route) }</Shell>
                    </TourProvider>
                </InboxProvider>
            </LiveProvider>
        },
    }
}

fn page(route: Route) -> Html {
    match route {
        Route::Home => html! { <page::home::Home /> },
        Route::Changes => html! { <page::changes::Changes /> },
        Route::NewChange => html! { <page::new_change::NewChange /> },
        Route::Approve { id } => html! { <page::approve::Approve key={id.to_string()} {id} /> },
        Route::EditChange { id } => {
            html! { <page::edit_change::EditChange key={id.to_string()} {id} /> }
        }
        Route::Change { id } => html! { <page::change::Change key={id.to_string()} {id} /> },
        Route::Targets { id } => html! { <page::targets::Targets key={id.to_string()} {id} /> },
        Route::Approvals => html! { <page::approvals::Approvals /> },
        Route::Assets => html! { <page::assets::Assets /> },
        Route::Asset { id } => html! { <page::asset::Asset key={id.to_string()} {id} /> },
        Route::Connections => html! { <page::connections::Connections /> },
        Route::Connection { id } => {
            html! { <page::connection::Connection key={id.to_string()} {id} /> }
        }
        Route::Host { id } => html! { <page::host::Host key={id.to_string()} {id} /> },
        Route::Hosts => html! { <page::hosts::Hosts /> },
        Route::Audit => html! { <page::audit::Audit /> },
        Route::Event { position } => {
            html! { <page::event::Event key={position.to_string()} {position} /> }
        }
        Route::Calendar => html! { <page::calendar::Calendar /> },
        Route::Policies => html! { <page::policies::Policies /> },
        Route::Risk => html! { <page::risk::Risk /> },
        Route::People => html! { <page::people::People /> },
        Route::Operations => html! { <page::operations::Operations /> },
        // These are shown without the shell.
        Route::Login | Route::FirstRun | Route::Report { .. } => html! {},
        Route::NotFound => html! {
            <component::empty::Empty glyph={Glyph::Question} title="There is no such page" testid="not-found">
                <component::link::Link to={Route::Home} class="button">
                    { "Home" }
                </component::link::Link>
            </component::empty::Empty>
        },
    }
}

/// To the sign-in form, which leads back here.
#[component]
fn ToLogin() -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let location = use_location().expect("every page is inside the router");
    use_effect_with((), move |()| {
        let next = format!("{}{}", location.path(), location.query_str());
        let next = if next == "/" { String::new() } else { next };
        let address = query::with(&Route::Login.to_path(), &[("next", &next)]);
        navigator.replace(&AnyRoute::new(address));
    });
    html! {}
}
