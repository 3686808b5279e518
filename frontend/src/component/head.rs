//! The head of a page: what it is, one line about it, and what can be done.

use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct HeadProps {
    pub title: AttrValue,
    #[prop_or_default]
    pub lead: Option<AttrValue>,
    /// Buttons.
    #[prop_or_default]
    pub children: Html,
}

#[component]
pub fn Head(props: &HeadProps) -> Html {
    html! {
        <header class="head">
            <div>
                <h1>{ &props.title }</h1>
                if let Some(lead) = &props.lead {
                    <p class="lead">{ lead }</p>
                }
            </div>
            <div class="head-actions">{ props.children.clone() }</div>
        </header>
    }
}
