//! People with their roles, and the tokens that act for them.

mod person;
mod token;

use yew::prelude::*;

use crate::component::head::Head;

#[component]
pub fn People() -> Html {
    html! {
        <>
            <Head title="People and tokens"
                lead="Whoever writes or edits a change never counts as its approver, whatever the roles." />
            <person::PersonList />
            <token::TokenList />
        </>
    }
}
