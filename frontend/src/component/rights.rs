//! What the account of a connection needs: text to paste, and which action needs what.

use nexplane_core::catalog::ConnectorSpec;
use yew::prelude::*;

use super::copy::CopyButton;

#[derive(Properties, PartialEq)]
pub struct RightsProps {
    pub connector: ConnectorSpec,
    #[prop_or_default]
    pub open: bool,
}

#[component]
pub fn Rights(props: &RightsProps) -> Html {
    let ConnectorSpec { least_privilege, actions, .. } = &props.connector;
    html! {
        <>
            if !least_privilege.is_empty() {
                <details open={props.open} data-testid="least-privilege">
                    <summary>{ "How to make an account with these rights and no others" }</summary>
                    <pre class="payload">{ least_privilege }</pre>
                    <CopyButton text={least_privilege.clone()} what="how to make the account" />
                </details>
            }
            <details data-testid="permissions-by-action">
                <summary>{ "Which action needs what" }</summary>
                <dl class="facts">
                    { for actions.iter().map(|action| html! {
                        <div key={action.id.clone()}>
                            <dt>{ &action.title }</dt>
                            <dd>{ action.permissions.join("; ") }</dd>
                        </div>
                    }) }
                </dl>
            </details>
        </>
    }
}
