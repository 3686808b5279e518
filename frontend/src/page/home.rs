//! The reader's own day: what waits for them, what of theirs runs and ended, today's calendar, and whether all is
//! well. One answer of the server; each part leads to its list.

mod aside;
mod visit;

use nexplane_core::api::{ChangeState, FirstStep, HomeAsk, HomeItem, HomeList, HomeView, StepName};
use yew::prelude::*;

use self::aside::{Agenda, Health};
use crate::component::badge::{Badge, RiskBadge, StateBadge};
use crate::component::change_table::{name, targets, waits};
use crate::component::head::Head;
use crate::component::icon::{Glyph, Icon};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::component::tour::Invitation;
use crate::live::{News, use_news};
use crate::resource::use_resource;
use crate::route::Route;
use crate::session::use_me;
use crate::words::{self, Label, Tone};
use crate::{format, query};

#[component]
pub fn Home() -> Html {
    let me = use_me();
    let since = use_memo(me.as_ref().map(|me| me.id), |me| me.map(visit::begin));
    let since = since.as_ref().as_ref().map(ToString::to_string);
    let path = since.map(|since| query::with("/home", &[("since", &since)]));
    let home = use_resource::<HomeView>(path);
    {
        let home = home.clone();
        let on_news = Callback::from(move |news: News| home.reload_at(news.position));
        use_news(vec!["changes".to_owned()], on_news);
    }
    let body = match (&home.value, home.error.clone()) {
        (Some(view), _) => shown(view),
        (None, Some(error)) => {
            let home = home.clone();
            html! { <ProblemNote {error} retry={move |()| home.reload()} /> }
        }
        (None, None) => html! { <Skeleton lines={12} /> },
    };
    html! {
        <>
            <Head title="Home" lead={home.value.as_deref().map(summary)}>
                <Link to={Route::NewChange} class="button primary" testid="home-new-change">
                    <Icon glyph={Glyph::Plus} />{ "New change" }
                </Link>
            </Head>
            <Invitation />
            { body }
        </>
    }
}

/// The page's first line.
fn summary(view: &HomeView) -> String {
    let count = |list: &HomeList| {
        let more = if list.more { "+" } else { "" };
        format!("{}{more}", list.items.len())
    };
    match (view.decide.items.is_empty(), view.next.items.is_empty()) {
        (true, true) => "Nothing waits for you.".to_owned(),
        (false, true) => format!("Waiting for your decision: {}.", count(&view.decide)),
        (true, false) => format!("Waiting for you to go on: {}.", count(&view.next)),
        (false, false) => format!(
            "Waiting for your decision: {}. For you to go on: {}.",
            count(&view.decide),
            count(&view.next)
        ),
    }
}

fn shown(view: &HomeView) -> Html {
    let settled = ChangeState::ALL.into_iter().filter(|state| state.is_settled());
    let settled: Vec<_> = settled.map(ChangeState::as_str).collect();
    let mine = |state: &str| vec![("state", state.to_owned()), ("mine", "true".to_owned())];
    let is_free = view.decide.items.is_empty() && view.next.items.is_empty();
    html! {
        <>
            { steps(&view.steps) }
            <div class="home">
                <div class="stack">
                    if is_free {
                        <section class="panel home-free" data-testid="home-free">
                            <Icon glyph={Glyph::Eye} />
                            <p>
                                { "Nothing waits for you. What others submit, and what of yours can go on, \
                                   appears here by itself." }
                            </p>
                            <Link to={Route::Changes} class="button small">{ "All changes" }</Link>
                        </section>
                    }
                    <Part title="Waits for your decision" testid="home-decide" list={view.decide.clone()}
                        to={Route::Approvals} all="All approvals" />
                    <Part title="Yours to go on with" testid="home-next" list={view.next.clone()}
                        to={Route::Changes} filter={vec![("waits", "me".to_owned())]} all="As a list" />
                    <Part title="Running now" testid="home-running" list={view.running.clone()}
                        to={Route::Changes} filter={mine("executing,rolling_back")} all="As a list" />
                    if let Some(gaps) = &view.gaps {
                        <Part title="To be explained" testid="home-gaps" list={gaps.clone()}
                            to={Route::Changes} filter={vec![("waits", "review".to_owned())]}
                            all="Waiting for a review"
                            none="No emergency or override waits for its review, and no outcome is unknown." />
                    }
                    <Part title="Ended since you were here" testid="home-ended" list={view.ended.clone()}
                        to={Route::Changes} filter={mine(&settled.join(","))} all="All that ended" />
                </div>
                <div class="stack">
                    <Agenda items={view.agenda.clone()} more={view.agenda_more} />
                    <Health lines={view.health.clone()} />
                </div>
            </div>
        </>
    }
}

/// The way into a new installation, until it was gone.
fn steps(steps: &[FirstStep]) -> Html {
    let Some(first) = steps.iter().position(|step| !step.done) else { return html! {} };
    let row = |(index, step): (usize, &FirstStep)| {
        let (title, what, to, go) = match step.step {
            StepName::Connect => (
                "Connect something",
                "A database, a directory, a host: whatever changes are made to.",
                Route::Connections,
                "Connect",
            ),
            StepName::Discover => (
                "Discover what is there",
                "Reads roles, users and services into the inventory. Nothing is changed.",
                Route::Connections,
                "Discover",
            ),
            StepName::Change => (
                "Make the first change",
                "Plan it and look at it: nothing happens before somebody approves.",
                Route::NewChange,
                "New change",
            ),
        };
        let glyph = if step.done { Glyph::Check } else { Glyph::Ring };
        html! {
            <li key={title} class={classes!("first-step", step.done.then_some("done"))}
                data-testid="home-step" data-done={step.done.to_string()}>
                <Icon {glyph} />
                <div>
                    <b>{ title }</b>
                    <span class="visually-hidden">{ if step.done { " (done)" } else { "" } }</span>
                    <p class="faint small">{ what }</p>
                </div>
                if !step.done {
                    <Link {to} class={classes!("button", "small", (index == first).then_some("primary"))}>
                        { go }
                    </Link>
                }
            </li>
        }
    };
    html! {
        <section class="panel first-steps" aria-labelledby="steps-title" data-testid="home-steps">
            <h2 id="steps-title">{ "The first three steps" }</h2>
            <ol>{ for steps.iter().enumerate().map(row) }</ol>
        </section>
    }
}

#[derive(Properties, PartialEq)]
struct PartProps {
    title: AttrValue,
    testid: AttrValue,
    list: HomeList,
    to: Route,
    #[prop_or_default]
    filter: Vec<(&'static str, String)>,
    /// What the link to the whole list says.
    all: AttrValue,
    /// Said when there is nothing; without it the part is left out.
    #[prop_or_default]
    none: Option<AttrValue>,
}

#[component]
fn Part(props: &PartProps) -> Html {
    let p = props;
    if p.list.items.is_empty() && p.none.is_none() {
        return html! {};
    }
    let id = format!("{}-title", p.testid);
    let more = if p.list.more { "+" } else { "" };
    html! {
        <section class="panel flush" aria-labelledby={id.clone()} data-testid={p.testid.clone()}>
            <div class="panel-head">
                <h2 {id}>
                    { &p.title }
                    if !p.list.items.is_empty() {
                        { " " }<span class="count quiet">{ format!("{}{more}", p.list.items.len()) }</span>
                    }
                </h2>
                <Link to={p.to} query={p.filter.clone()} class="small">{ &p.all }</Link>
            </div>
            if p.list.items.is_empty() {
                <p class="faint panel-note">{ p.none.clone().unwrap_or_default() }</p>
            } else {
                <ul class="home-list">{ for p.list.items.iter().map(row) }</ul>
            }
        </section>
    }
}

fn row(item: &HomeItem) -> Html {
    let change = &item.change;
    html! {
        <li key={change.id.to_string()} class="home-row" data-testid="home-row"
            data-id={change.id.to_string()} data-state={change.state.as_str()}>
            <div class="home-row-what">
                <p class="home-row-title">
                    <span class="faint">{ format!("#{} ", change.number) }</span>
                    <Link to={Route::Change { id: change.id }} row=true class="row-link" testid="home-link">
                        { &change.title }
                    </Link>
                </p>
                <p class="row-waits">{ sentence(item) }</p>
                <p class="faint small">{ format!("{} · {}", targets(change), name(change, change.requester.0)) }</p>
            </div>
            <div class="home-row-signs">
                { sign(item) }
                <RiskBadge risk={change.risk.clone()} />
                <span class="faint small nowrap">
                    if let Some(at) = item.until {
                        { "until " }<Time {at} />
                    } else {
                        <Time at={change.updated_at} relative=true />
                    }
                </span>
            </div>
        </li>
    }
}

/// What it asks for, or how it is.
fn sign(item: &HomeItem) -> Html {
    let change = &item.change;
    match item.ask {
        Some(ask) => html! { <Badge label={asked(ask)} /> },
        None => html! { <StateBadge state={change.state} settled={change.settled.is_some()} /> },
    }
}

fn sentence(item: &HomeItem) -> String {
    match (&item.change.settled, item.ask) {
        (Some(settled), None) => {
            format!("A person looked: {}", words::sentence(&settled.evidence))
        }
        (_, _) => format::readable(&waits(&item.change)),
    }
}

const fn asked(ask: HomeAsk) -> Label {
    let (text, tone, glyph) = match ask {
        HomeAsk::Approve => ("To approve", Tone::Waiting, Glyph::Approvals),
        HomeAsk::Review => ("To review", Tone::Waiting, Glyph::Eye),
        HomeAsk::Plan => ("To plan", Tone::Neutral, Glyph::Pencil),
        HomeAsk::Submit => ("To submit", Tone::Active, Glyph::Chevron),
        HomeAsk::Execute => ("To execute", Tone::Active, Glyph::Play),
        HomeAsk::Settle => ("To settle", Tone::Neutral, Glyph::Question),
        HomeAsk::Reveal => ("To reveal", Tone::Active, Glyph::Key),
        HomeAsk::RollBack => ("To roll back", Tone::RolledBack, Glyph::Undo),
    };
    Label { text, tone, glyph }
}
