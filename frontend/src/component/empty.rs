//! What an empty place says: what is missing and what to do next.

use yew::prelude::*;

use super::icon::{Glyph, Icon};

#[derive(Properties, PartialEq)]
pub struct EmptyProps {
    pub glyph: Glyph,
    pub title: AttrValue,
    /// What to do next; may hold a button.
    pub children: Html,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
}

#[component]
pub fn Empty(props: &EmptyProps) -> Html {
    html! {
        <div class="empty" data-testid={props.testid.clone().unwrap_or(AttrValue::Static("empty"))}>
            <span class="empty-sign"><Icon glyph={props.glyph} /></span>
            <h2>{ &props.title }</h2>
            <div class="empty-next">{ props.children.clone() }</div>
        </div>
    }
}
