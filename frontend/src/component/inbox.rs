//! What waits for my approval: read once, shown by the navigation and by the approvals page.

use nexplane_core::api::{InboxItem, Page};
use std::rc::Rc;
use yew::prelude::*;

use crate::api::ApiError;
use crate::live::use_live;
use crate::resource::use_resource;

#[derive(Clone, PartialEq)]
pub struct Inbox {
    pub items: Option<Rc<Page<InboxItem>>>,
    pub error: Option<ApiError>,
    pub reload: Callback<()>,
}

impl Inbox {
    /// How many I may approve or review.
    pub fn count(&self) -> usize {
        self.items.as_ref().map_or(0, |page| {
            page.items.iter().filter(|item| item.may_approve || item.may_review).count()
        })
    }
}

#[derive(Properties, PartialEq)]
pub struct InboxProviderProps {
    pub children: Html,
}

#[component]
pub fn InboxProvider(props: &InboxProviderProps) -> Html {
    let inbox = use_resource::<Page<InboxItem>>(Some("/approvals/inbox".to_owned()));
    {
        let inbox = inbox.clone();
        use_live(
            vec!["changes".to_owned()],
            Callback::from(move |event: crate::live::Event| inbox.reload_at(event.position())),
        );
    }
    let reload = {
        let inbox = inbox.clone();
        use_callback((), move |(), ()| inbox.reload())
    };
    let context = Inbox { items: inbox.value.clone(), error: inbox.error.clone(), reload };
    html! {
        <ContextProvider<Inbox> {context}>{ props.children.clone() }</ContextProvider<Inbox>>
    }
}

#[hook]
pub fn use_inbox() -> Inbox {
    use_context().expect("every page is inside the InboxProvider")
}
