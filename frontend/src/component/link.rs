//! Links inside the dashboard: the router's, with the attributes that tests and screen readers use.

use yew::prelude::*;
use yew_router::AnyRoute;
use yew_router::prelude::*;

use crate::query;
use crate::route::Route;

#[derive(Properties, PartialEq)]
pub struct LinkProps {
    pub to: Route,
    /// Names and values after the `?`.
    #[prop_or_default]
    pub query: Vec<(&'static str, String)>,
    #[prop_or_default]
    pub class: Classes,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
    /// It leads to where we are.
    #[prop_or_default]
    pub current: bool,
    /// It is a row of a list: `j` and `k` go from one to the next.
    #[prop_or_default]
    pub row: bool,
    #[prop_or_default]
    pub title: Option<AttrValue>,
    pub children: Html,
}

#[component]
pub fn Link(props: &LinkProps) -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let pairs: Vec<(&str, &str)> =
        props.query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let href = query::with(&props.to.to_path(), &pairs);
    let onclick = {
        let href = href.clone();
        Callback::from(move |event: MouseEvent| {
            // With a modifier the browser opens a tab or a window.
            if event.meta_key() || event.ctrl_key() || event.shift_key() || event.alt_key() {
                return;
            }
            event.prevent_default();
            navigator.push(&AnyRoute::new(href.clone()));
        })
    };
    html! {
        <a {href} {onclick} class={props.class.clone()} title={props.title.clone()}
            aria-current={props.current.then_some("page")} data-testid={props.testid.clone()}
            data-row={props.row.then_some("")}>
            { props.children.clone() }
        </a>
    }
}
