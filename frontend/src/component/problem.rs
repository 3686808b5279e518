//! What went wrong: what happened, what to do, and the number to quote.

use nexplane_core::api::Problem;
use nexplane_core::id::ChangeId;
use yew::prelude::*;
use yew_router::prelude::*;

use super::icon::{Glyph, Icon};
use crate::api::ApiError;
use crate::format;
use crate::route::Route;

#[derive(Properties, PartialEq)]
pub struct ProblemNoteProps {
    pub error: ApiError,
    /// Offers to try again.
    #[prop_or_default]
    pub retry: Option<Callback<()>>,
}

#[component]
pub fn ProblemNote(props: &ProblemNoteProps) -> Html {
    let more = match &props.error {
        ApiError::Refused(problem) => refusal(problem),
        ApiError::Unreachable => html! {},
        ApiError::Unreadable { what, .. } => {
            html! { <p class="problem-facts"><code>{ what }</code></p> }
        }
    };
    let retry = props.retry.clone().map(|retry| {
        html! {
            <button type="button" class="button small" onclick={move |_| retry.emit(())}
                data-testid="problem-retry">{ "Try again" }</button>
        }
    });
    html! {
        <div class="callout tone-failed problem" role="alert" data-testid="problem">
            <Icon glyph={Glyph::Warning} />
            <div class="callout-body">
                <p data-testid="problem-detail">{ props.error.detail() }</p>
                { more }
                { for retry }
            </div>
        </div>
    }
}

fn refusal(problem: &Problem) -> Html {
    let fields = problem.errors.iter().map(|error| {
        html! { <li><code>{ &error.pointer }</code>{ " " }{ &error.reason }</li> }
    });
    let blocking = problem.blocking.iter().map(|id| {
        html! {
            <li>
                <Link<Route> to={Route::Change { id: ChangeId(*id) }}>
                    { "Change " }{ format::short_id(*id) }
                </Link<Route>>
            </li>
        }
    });
    html! {
        <>
            if !problem.errors.is_empty() {
                <ul class="plain">{ for fields }</ul>
            }
            if !problem.blocking.is_empty() {
                <p>{ "In the way:" }</p>
                <ul class="plain" data-testid="problem-blocking">{ for blocking }</ul>
            }
            <p class="problem-facts">
                <span>{ "Code " }<code data-testid="problem-code">{ &problem.code }</code></span>
                <span>{ "Trace " }<code data-testid="problem-trace">{ problem.trace_id.to_string() }</code></span>
            </p>
        </>
    }
}
