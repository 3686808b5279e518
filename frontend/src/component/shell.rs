//! What is around every page: navigation, state of the line, keys, help.

use nexplane_core::actor::Role;
use nexplane_core::api::Me;
use wasm_bindgen::JsCast as _;
use yew::prelude::*;
use yew_router::prelude::*;

use super::dialog::{Dialog, Shape};
use super::icon::{Glyph, Icon, Mark};
use super::inbox::use_inbox;
use super::link::Link;
use super::palette::Palette;
use super::time::Time;
use super::tour::{Progress, TourCard, use_tour};
use crate::live::{Live, Status};
use crate::route::Route;
use crate::session::{has, use_me, use_session};
use crate::shortcut::{self, Command, use_shortcuts};
use crate::theme::{self, Theme};

/// Route, icon, word, name in tests.
type Entry = (Route, Glyph, &'static str, &'static str);

const ENTRIES: [Entry; 10] = [
    (Route::Home, Glyph::Home, "Home", "nav-home"),
    (Route::Changes, Glyph::Changes, "Changes", "nav-changes"),
    (Route::Approvals, Glyph::Approvals, "Approvals", "nav-approvals"),
    (Route::Calendar, Glyph::Calendar, "Calendar", "nav-calendar"),
    (Route::Assets, Glyph::Assets, "Assets", "nav-assets"),
    (Route::Connections, Glyph::Connections, "Connections", "nav-connections"),
    (Route::Hosts, Glyph::Hosts, "Hosts", "nav-hosts"),
    (Route::Policies, Glyph::Lock, "Policies", "nav-policies"),
    (Route::Risk, Glyph::Risk(3), "Risk", "nav-risk"),
    (Route::Audit, Glyph::Audit, "Audit", "nav-audit"),
];

const ADMIN: [Entry; 2] = [
    (Route::People, Glyph::People, "People", "nav-people"),
    (Route::Operations, Glyph::Operations, "Operations", "nav-operations"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Menu,
    Palette,
    Help,
}

#[derive(Properties, PartialEq)]
pub struct ShellProps {
    pub route: Route,
    pub children: Html,
}

#[component]
pub fn Shell(props: &ShellProps) -> Html {
    let open = use_state_eq(|| Open::Nothing);
    let navigator = use_navigator().expect("the shell is inside the router");
    use_shortcuts({
        let open = open.clone();
        Callback::from(move |command| match command {
            Command::Go(route) => navigator.push(&route),
            Command::Search => {
                if !shortcut::focus_search() {
                    open.set(Open::Palette);
                }
            }
            Command::Palette => {
                open.set(if *open == Open::Palette { Open::Nothing } else { Open::Palette });
            }
            Command::Help => open.set(Open::Help),
            Command::Decide => {
                shortcut::focus("#decide-comment, .decision a");
            }
            Command::NextRow => shortcut::focus_row(true),
            Command::PreviousRow => shortcut::focus_row(false),
        })
    });
    let close = {
        let open = open.setter();
        use_callback((), move |(), ()| open.set(Open::Nothing))
    };
    {
        // The menu of a phone closes when it has led somewhere.
        let open = open.setter();
        use_effect_with(props.route, move |route| {
            open.set(Open::Nothing);
            set_title(route.title());
            begin_at_top();
        });
    }
    let show = |what: Open| {
        let open = open.setter();
        Callback::from(move |_: MouseEvent| open.set(what))
    };
    html! {
        <div class="app">
            <a class="skip" href="#main">{ "Skip to the content" }</a>
            <TourCard />
            <header class="topbar">
                <button type="button" class="button quiet icon-only" aria-label="Menu"
                    onclick={show(Open::Menu)} data-testid="nav-menu">
                    <Icon glyph={Glyph::Menu} />
                </button>
                <Link to={Route::Home} class="brand"><Mark />{ "Nexplane" }</Link>
                <button type="button" class="button quiet icon-only" aria-label="Find anything"
                    onclick={show(Open::Palette)}>
                    <Icon glyph={Glyph::Search} />
                </button>
            </header>
            <aside class="sidebar">
                <Navigation route={props.route} on_palette={show(Open::Palette)}
                    on_help={show(Open::Help)} />
            </aside>
            <div class="content">
                <ReplayBanner />
                <LineBanner />
                <main id="main" tabindex="-1">{ props.children.clone() }</main>
            </div>
            {
                match *open {
                    Open::Nothing => html! {},
                    Open::Menu => html! {
                        <Dialog title="Menu" shape={Shape::Menu} on_close={close}>
                            <Navigation route={props.route} on_palette={show(Open::Palette)}
                                on_help={show(Open::Help)} />
                        </Dialog>
                    },
                    Open::Palette => html! { <Palette on_close={close} /> },
                    Open::Help => html! { <Help on_close={close} /> },
                }
            }
        </div>
    }
}

/// Names the browser's tab.
pub fn set_title(title: &str) {
    if let Some(document) = web_sys::window().and_then(|window| window.document()) {
        document.set_title(&format!("{title} · Nexplane"));
    }
}

/// A new page begins at its top, also for whoever has no mouse. An input that asked for the focus
/// keeps it.
fn begin_at_top() {
    let Some(window) = web_sys::window() else { return };
    window.scroll_to_with_x_and_y(0.0, 0.0);
    let Some(document) = window.document() else { return };
    let is_input = document
        .active_element()
        .is_some_and(|element| matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA"));
    let main = document.get_element_by_id("main").and_then(|main| main.dyn_into().ok());
    if let (false, Some(main)) = (is_input, main) {
        let main: web_sys::HtmlElement = main;
        // Fails only for what is not on the page.
        let _ = main.focus();
    }
}

#[derive(Properties, PartialEq)]
struct NavigationProps {
    route: Route,
    on_palette: Callback<MouseEvent>,
    on_help: Callback<MouseEvent>,
}

#[component]
fn Navigation(props: &NavigationProps) -> Html {
    let me = use_me();
    let waiting = use_inbox().count();
    let here = props.route.section();
    let link = |(route, glyph, word, testid): Entry| {
        let count = (route == Route::Approvals && waiting > 0).then_some(waiting);
        html! {
            <li key={testid}>
                <Link to={route} class="nav-link" current={here == route} {testid}>
                    <Icon {glyph} />
                    <span>{ word }</span>
                    if let Some(count) = count {
                        <span class="count" data-testid="nav-approvals-count"
                            title="Changes that wait for your approval">{ count }</span>
                    }
                </Link>
            </li>
        }
    };
    let sees_people = has(me.as_deref(), Role::Admin);
    html! {
        <nav class="nav" aria-label="Main">
            <Link to={Route::Home} class="brand"><Mark />{ "Nexplane" }</Link>
            <button type="button" class="find" onclick={props.on_palette.clone()}
                data-testid="open-palette">
                <Icon glyph={Glyph::Search} /><span>{ "Find" }</span><kbd>{ "Ctrl K" }</kbd>
            </button>
            <ul>{ for ENTRIES.into_iter().map(link) }</ul>
            <ul class="nav-admin">
                { for ADMIN.into_iter().filter(|e| e.0 != Route::People || sees_people).map(link) }
            </ul>
            <div class="nav-foot">
                <LineState />
                if let Some(me) = me {
                    <Account name={me.name.clone()} roles={role_words(&me)} />
                }
                <div class="nav-tools">
                    <ThemeButton />
                    <button type="button" class="button quiet icon-only" onclick={props.on_help.clone()}
                        aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)"
                        data-testid="open-help">
                        <Icon glyph={Glyph::Keyboard} />
                    </button>
                    <a class="button quiet small" href="/api/docs" title="The API behind this page">
                        { "API" }
                    </a>
                    <SignOut />
                </div>
            </div>
        </nav>
    }
}

fn role_words(me: &Me) -> String {
    me.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

#[derive(Properties, PartialEq)]
struct AccountProps {
    name: String,
    roles: String,
}

#[component]
fn Account(props: &AccountProps) -> Html {
    let letter = props.name.chars().next().unwrap_or('?').to_uppercase().to_string();
    html! {
        <div class="account" data-testid="account">
            <span class="avatar" aria-hidden="true">{ letter }</span>
            <span class="account-text">
                <b data-testid="account-name">{ &props.name }</b>
                <span class="faint small" title={props.roles.clone()}>{ &props.roles }</span>
            </span>
        </div>
    }
}

#[component]
fn SignOut() -> Html {
    let sign_out = use_session().sign_out;
    html! {
        <button type="button" class="button quiet icon-only" onclick={move |_| sign_out.emit(())}
            aria-label="Sign out" title="Sign out" data-testid="sign-out">
            <Icon glyph={Glyph::SignOut} />
        </button>
    }
}

#[component]
fn ThemeButton() -> Html {
    let chosen = use_state_eq(theme::remembered);
    let onclick = {
        let chosen = chosen.clone();
        Callback::from(move |_: MouseEvent| {
            let next = chosen.next();
            theme::apply(next);
            chosen.set(next);
        })
    };
    let glyph = match *chosen {
        Theme::System => Glyph::Screen,
        Theme::Light => Glyph::Sun,
        Theme::Dark => Glyph::Moon,
    };
    html! {
        <button type="button" class="button quiet icon-only" {onclick} data-testid="theme"
            aria-label={format!("{}. Change it", chosen.word())} title={chosen.word()}>
            <Icon {glyph} />
        </button>
    }
}

/// Whether what is on the screen follows the server.
#[component]
fn LineState() -> Html {
    let status = use_context::<Status>().unwrap_or(Status::Connecting);
    let (word, state) = match status {
        Status::Connecting => ("Connecting", "connecting"),
        Status::Live => ("Live", "live"),
        Status::Lost => ("Offline", "lost"),
    };
    html! {
        <p class={classes!("line-state", format!("line-{state}"))} data-testid="live-state"
            data-state={state}>
            <Icon glyph={if status == Status::Live { Glyph::Dot } else { Glyph::Ring }} />{ word }
        </p>
    }
}

#[component]
fn LineBanner() -> Html {
    let status = use_context::<Status>().unwrap_or(Status::Connecting);
    let live = use_context::<Option<Live>>().flatten();
    if status != Status::Lost {
        return html! {};
    }
    let onclick = move |_| {
        if let Some(live) = &live {
            live.reconnect();
        }
    };
    html! {
        <div class="banner" role="status" data-testid="offline-banner">
            <Icon glyph={Glyph::Warning} />
            <p>{ "The line to the server is lost. What you see may be old. It is tried again by itself." }</p>
            <button type="button" class="button small" {onclick}>{ "Try now" }</button>
        </div>
    }
}

/// That this is the past, while it is.
#[component]
fn ReplayBanner() -> Html {
    let Some(replay) = use_me().and_then(|me| me.replay.clone()) else { return html! {} };
    html! {
        <div class="banner" role="status" data-testid="replay-banner">
            <Icon glyph={Glyph::Audit} />
            <p>
                { "A replay: everything is as it was at " }<Time at={replay.at} exact=true />
                { format!(", after event {}. Nothing here can be changed.", replay.position) }
            </p>
        </div>
    }
}

#[derive(Properties, PartialEq)]
struct HelpProps {
    on_close: Callback<()>,
}

#[component]
fn Help(props: &HelpProps) -> Html {
    let tour = use_tour();
    let again = {
        let (set, on_close) = (tour.set, props.on_close.clone());
        move |_: MouseEvent| {
            on_close.emit(());
            set.emit(Progress::At(0));
        }
    };
    html! {
        <Dialog title="Keyboard shortcuts" on_close={props.on_close.clone()} testid="help">
            <dl class="keys">
                { for shortcut::HELP.into_iter().map(|(keys, what)| html! {
                    <div>
                        <dt>{ for keys.split_whitespace().map(|key| html! { <kbd>{ key }</kbd> }) }</dt>
                        <dd>{ what }</dd>
                    </div>
                }) }
            </dl>
            if tour.progress != Progress::Absent {
                <div class="actions">
                    <button type="button" class="button" onclick={again} data-testid="tour-again">
                        { "Show me around" }
                    </button>
                </div>
            }
        </Dialog>
    }
}
