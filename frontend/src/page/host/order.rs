//! What a host was ordered, how far that is, and the receipts by which its agent answered.

use nexplane_core::api::{HostOrderView, OrderKind, ReceiptLink, ReceiptProof, ReceiptView};
use nexplane_core::id::HostId;
use yew::prelude::*;

use crate::component::badge::{Badge, Callout};
use crate::component::copy::CopyButton;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::Checkbox;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::live::{News, use_news};
use crate::resource::use_list;
use crate::route::Route;
use crate::words::{self, Tone};
use crate::{format, query};

#[derive(Properties, PartialEq)]
pub struct OrdersProps {
    pub host: HostId,
}

#[component]
pub fn Orders(props: &OrdersProps) -> Html {
    let questions = use_state_eq(|| false);
    let list = use_list::<HostOrderView>(Some(query::with(
        &format!("/hosts/{}/orders", props.host),
        &[("questions", if *questions { "true" } else { "" }), ("limit", "20")],
    )));
    {
        // An order moves with the run of its change, and stops when its host goes.
        let (list, host) = (list.clone(), props.host);
        let on_news = Callback::from(move |news: News| {
            list.refresh_at(news.position, |one, other| one.seq.cmp(&other.seq));
        });
        let on_host = {
            let on_news = on_news.clone();
            Callback::from(move |news: News| {
                if news.concern(host.0) {
                    on_news.emit(news);
                }
            })
        };
        use_news(vec!["changes".to_owned()], on_news);
        use_news(vec!["hosts".to_owned()], on_host);
    }
    html! {
        <section class="panel order-1" aria-labelledby="orders-title" data-testid="host-orders">
            <div class="panel-head">
                <h2 id="orders-title">{ "Orders" }</h2>
                <Checkbox id="questions" label="Also questions" checked={*questions} testid="orders-questions"
                    on_change={let questions = questions.setter(); move |on| questions.set(on)} />
            </div>
            if let Some(orders) = list.items.clone() {
                if orders.is_empty() {
                    <p class="faint" data-testid="orders-none">
                        { "Nothing was ordered. Each step of a change of this host is one signed order, and its agent answers with \
                           a signed receipt." }
                    </p>
                } else {
                    <ol class="steps" aria-busy={list.loading.to_string()}>
                        { for orders.iter().map(|order| html! { <Order key={order.id.to_string()} order={order.clone()} /> }) }
                    </ol>
                }
                if list.more {
                    <button type="button" class="button wide" disabled={list.loading} data-testid="orders-more"
                        onclick={let list = list.clone(); move |_| list.load_more()}>
                        { "Load more" }
                    </button>
                }
            } else if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            } else {
                <Skeleton lines={4} />
            }
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct OrderProps {
    order: HostOrderView,
}

#[component]
fn Order(props: &OrderProps) -> Html {
    let order = &props.order;
    let what = match (&order.summary, &order.action) {
        (Some(summary), _) => words::sentence(summary),
        (None, Some(action)) => {
            format!("{}: {}", words::order_kind(order.kind), words::change_type(action))
        }
        (None, None) => words::order_kind(order.kind).to_owned(),
    };
    let state = order.state;
    let value =
        serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned));
    html! {
        <li class="step host-order" data-testid="order" data-state={value} data-seq={order.seq.to_string()}>
            <span class="step-no">{ order.seq }</span>
            <div class="step-main">
                <div class="step-head">
                    <p class="step-summary" data-testid="order-summary">{ what }</p>
                    <Badge label={words::order_state(state, order.kind)} testid="order-state" />
                </div>
                <p class="faint small">
                    if let (Some(id), Some(number)) = (order.change, order.change_number) {
                        { if order.kind == OrderKind::Revert { "Undoes, for " } else { "For " } }
                        <Link to={Route::Change { id }} testid="order-change" title={order.change_title.clone()}>
                            { format!("#{number} {}", order.change_title.as_deref().unwrap_or_default()) }
                        </Link>
                        { " · " }
                    }
                    { "ordered " }<Time at={order.ordered_at} exact=true />
                    { took(order) }
                    if let Some(until) = order.undo_until {
                        { " · can be undone until " }<Time at={until} />
                    }
                </p>
                if let Some(detail) = &order.detail {
                    <p class="step-reason" data-testid="order-detail">
                        <Icon glyph={Glyph::Warning} /><span class="wrap-any">{ words::sentence(detail) }</span>
                    </p>
                }
                { for order.receipts.iter().enumerate().map(|(index, receipt)| html! {
                    <Receipt key={receipt.number} receipt={receipt.clone()} later={index > 0} />
                }) }
            </div>
        </li>
    }
}

fn took(order: &HostOrderView) -> Html {
    match (order.delivered_at, order.finished_at) {
        (Some(start), Some(end)) => {
            html! { { format!(", took {}", format::duration(start, end)) } }
        }
        (Some(start), None) => html! { <>{ ", fetched " }<Time at={start} exact=true /></> },
        (None, _) if order.state.is_open() => {
            html! { <>{ ", to be fetched by " }<Time at={order.not_after} exact=true /></> }
        }
        (None, _) => html! {},
    }
}

#[derive(Properties, PartialEq)]
struct ReceiptProps {
    receipt: ReceiptView,
    /// It came after the one that is the outcome.
    later: bool,
}

#[component]
fn Receipt(props: &ReceiptProps) -> Html {
    let receipt = &props.receipt;
    let label = words::receipt(receipt.proof.as_ref());
    let state = match &receipt.proof {
        Some(proof) if proof.holds() => "verified",
        Some(_) => "wrong",
        None => "forgotten",
    };
    html! {
        <details class="receipt" data-testid="receipt" data-state={state} data-number={receipt.number.to_string()}>
            <summary>
                { if props.later { "Later receipt " } else { "Receipt " } }{ receipt.number }{ " " }
                <Badge {label} testid="receipt-state" />
            </summary>
            if let Some(proof) = &receipt.proof {
                <ul class="proof-steps">
                    { for checks(receipt.number, proof).into_iter().map(|(holds, name, text)| html! {
                        <li class={classes!("proof-step", if holds { Tone::Verified.class() } else { Tone::Failed.class() })}>
                            <Icon glyph={if holds { Glyph::Check } else { Glyph::Cross }} />
                            <div><b>{ name }</b><p class="proof-text">{ text }</p></div>
                        </li>
                    }) }
                </ul>
                if !proof.holds() {
                    <Callout tone={Tone::Failed} glyph={Glyph::Warning} testid="receipt-wrong">
                        <p>{ "What is stored here is not what the agent sent, or not all of it. The agent's own journal on the \
                              host has every receipt: compare with it." }</p>
                    </Callout>
                }
            } else {
                <p class="faint small">
                    { "Answers to mere questions are forgotten after a week. The hash stays, so that the chain can be followed." }
                </p>
            }
            <dl class="facts small">
                <div><dt>{ "Hash" }</dt><dd>
                    <code class="wrap-any">{ &receipt.hash }</code>
                    <CopyButton text={receipt.hash.clone()} what="the hash of the receipt" />
                </dd></div>
                if let Some(proof) = &receipt.proof {
                    <div><dt>{ "One before" }</dt><dd><code class="wrap-any">{ &proof.previous }</code></dd></div>
                    <div><dt>{ "Signed" }</dt><dd><Time at={proof.signed_at} exact=true />{ " by the host's clock" }</dd></div>
                }
                <div><dt>{ "Received" }</dt><dd><Time at={receipt.received_at} exact=true /></dd></div>
            </dl>
        </details>
    }
}

/// What the server checked when this page asked, and what it found.
fn checks(number: u64, proof: &ReceiptProof) -> [(bool, &'static str, String); 3] {
    let content = if proof.hash_holds {
        "It has the hash that was noted when it came."
    } else {
        "It has another hash than the one that was noted when it came."
    };
    let signature = if proof.signature_holds {
        "It was made with a key for which this host had a certificate. Nobody but the agent has that key."
    } else {
        "It was not made with a key for which this host had a certificate."
    };
    let before = number.saturating_sub(1);
    let (links, chain) = match proof.link {
        ReceiptLink::First => (true, "It is the first receipt of this host.".to_owned()),
        ReceiptLink::Follows => {
            (true, format!("It names the hash of receipt {before}, which is here."))
        }
        ReceiptLink::Missing => (false, format!("Receipt {before} is not here.")),
        ReceiptLink::Broken => {
            (false, format!("It names another receipt than the receipt {before} that is here."))
        }
    };
    [
        (proof.hash_holds, "Content", content.to_owned()),
        (proof.signature_holds, "Signature", signature.to_owned()),
        (links, "Chain", chain),
    ]
}
