//! The targets of a change with many: how many are where, the brakes, and each of them, those that need somebody
//! first.
//!
//! Nothing moves under the reader's eyes: what changes is told in its place, and the list is laid out anew when
//! they ask for it.

mod cells;
mod cursor;
mod drawer;
mod grid;
mod rows;
mod source;

use nexplane_core::api::{ChangeView, RolloutProgress, TargetState};
use nexplane_core::id::ChangeId;
use serde::{Deserialize, Serialize};
use yew::prelude::*;
use yew_router::prelude::*;

use self::source::{Asked, use_source};
use crate::component::badge::StateBadge;
use crate::component::empty::Empty;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{FilterSelect, SearchInput};
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::shell::set_title;
use crate::component::skeleton::Skeleton;
use crate::component::target_counts::{TargetCounts, stage};
use crate::format;
use crate::live::{Event, use_live};
use crate::page::change::{Actions, plan_of, rollout_reason, use_rollout};
use crate::resource::{use_mutation, use_resource};
use crate::route::Route;
use crate::words;

/// What is in the address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Shown {
    #[serde(skip_serializing_if = "String::is_empty")]
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    q: String,
    /// `cells`, or rows.
    #[serde(skip_serializing_if = "String::is_empty")]
    view: String,
    /// The number of the target whose drawer is open.
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
}

const CELLS: &str = "cells";
/// Both states that somebody has to do something about.
const NEEDY: &str = "failed,outcome_unknown";

impl Shown {
    /// The state that is shown alone.
    fn only(&self) -> Option<TargetState> {
        TargetState::ALL.into_iter().find(|state| state.as_str() == self.state)
    }

    fn kept(&self) -> Vec<(&'static str, String)> {
        vec![("q", self.q.clone()), ("view", self.view.clone())]
    }
}

#[derive(Properties, PartialEq)]
pub struct TargetsProps {
    pub id: ChangeId,
}

#[component]
pub fn Targets(props: &TargetsProps) -> Html {
    let id = props.id;
    let change = use_resource::<ChangeView>(Some(format!("/change-requests/{id}")));
    {
        let change = change.clone();
        use_live(
            vec![format!("change:{id}")],
            Callback::from(move |event: Event| change.reload_at(event.position())),
        );
    }
    let heard = use_state_eq(|| (0_u32, None::<u64>));
    let counter = use_mut_ref(|| 0_u32);
    let on_event = {
        let heard = heard.setter();
        Callback::from(move |event: Event| {
            let mut counter = counter.borrow_mut();
            *counter = counter.wrapping_add(1);
            heard.set((*counter, event.position()));
        })
    };
    let progress = use_rollout(id, change.value.as_ref(), on_event);
    let planning = use_mutation();
    let title = change.value.as_ref().map(|view| format!("Targets of #{}", view.number));
    use_effect_with(title, |title| {
        if let Some(title) = title {
            set_title(title);
        }
    });
    let Some(view) = change.value.clone() else {
        return match change.error.clone() {
            Some(error) => html! {
                <ProblemNote {error} retry={let change = change.clone(); move |()| change.reload()} />
            },
            None => html! { <Skeleton lines={14} /> },
        };
    };
    let on_changed = {
        let change = change.clone();
        Callback::from(move |answer: ChangeView| change.set(answer))
    };
    let digest = view.plan.as_ref().map(|plan| plan.digest.clone());
    let brakes = ["pause", "resume", "stop"];
    let has_brakes = view.allowed.iter().any(|entry| brakes.contains(&entry.action.as_str()));
    html! {
        <article class="targets" data-testid="targets-page" data-state={progress.as_ref().map(|p| p.state.clone())}>
            { head(&view) }
            if has_brakes {
                <Actions change={view.clone()} {planning} {on_changed} brakes=true />
            }
            if view.rollout.is_none() || view.plan.is_none() {
                { no_targets(&view) }
            } else {
                <Body key={digest.unwrap_or_default()} {id} {progress} heard={*heard} />
            }
        </article>
    }
}

fn head(change: &ChangeView) -> Html {
    let id = change.id;
    html! {
        <header class="head">
            <div>
                <p class="crumbs">
                    <Link to={Route::Changes}>{ "Changes" }</Link>
                    <Icon glyph={Glyph::Chevron} />
                    <Link to={Route::Change { id }} testid="targets-change">{ format!("#{}", change.number) }</Link>
                    <Icon glyph={Glyph::Chevron} />
                    <span>{ "Targets" }</span>
                </p>
                <h1>{ &change.title }</h1>
                <p class="badges">
                    <StateBadge state={change.state} settled={change.settled.is_some()} testid="change-state" />
                    if let Some(rollout) = &change.rollout {
                        <span class="faint small">{ plan_of(rollout) }</span>
                    }
                </p>
            </div>
        </header>
    }
}

fn no_targets(change: &ChangeView) -> Html {
    let (title, what) = if change.rollout.is_some() {
        ("It is not planned yet", "Its targets are read when it is planned.")
    } else {
        ("It is not a rollout", "The few targets that it has are on its own page.")
    };
    html! {
        <Empty glyph={Glyph::Changes} {title} testid="targets-none">
            <p>{ what }</p>
            <Link to={Route::Change { id: change.id }} class="button">{ "To the change" }</Link>
        </Empty>
    }
}

#[derive(Properties, PartialEq)]
struct BodyProps {
    id: ChangeId,
    progress: Option<RolloutProgress>,
    /// A number that is another with every notice, and the position of that.
    heard: (u32, Option<u64>),
}

#[component]
fn Body(props: &BodyProps) -> Html {
    let BodyProps { id, progress, heard } = props;
    let id = *id;
    let navigator = use_navigator().expect("every page is inside the router");
    let shown =
        use_location().and_then(|location| location.query::<Shown>().ok()).unwrap_or_default();
    let asked = Asked { state: shown.state.clone(), q: shown.q.clone() };
    let source = use_source(id, asked.clone());
    {
        let source = source.clone();
        use_effect_with(*heard, move |(number, position)| {
            if *number > 0 {
                source.hear(*position);
            }
        });
    }
    {
        // What it waits for is another sentence with each of them.
        let source = source.clone();
        let stage = progress.as_ref().map(|progress| (progress.state.clone(), progress.batches));
        use_effect_with(stage, move |_| source.forget_what_waits());
    }
    let at = use_state_eq(|| 0_usize);
    {
        let at = at.setter();
        use_effect_with(asked, move |_| at.set(0));
    }
    let open = shown.target.parse::<u32>().ok();
    {
        // An address of a target leads to its row, too.
        let (at, place) = (at.setter(), open.and_then(|no| source.grid().place_of(no)));
        use_effect_with(place, move |place| {
            if let Some(place) = place {
                at.set(*place);
            }
        });
    }
    let go = {
        let (navigator, shown) = (navigator.clone(), shown.clone());
        move |change: fn(&mut Shown, String)| {
            let (navigator, shown) = (navigator.clone(), shown.clone());
            Callback::from(move |value: String| {
                let mut shown = shown.clone();
                change(&mut shown, value);
                // Of plain texts a query string can always be made.
                drop(navigator.replace_with_query(&Route::Targets { id }, shown));
            })
        }
    };
    let on_open = {
        let (source, at, shown, navigator) =
            (source.clone(), at.setter(), shown.clone(), navigator.clone());
        use_callback((source, shown), move |place: usize, (source, shown)| {
            let Some(no) = source.grid().no_at(place) else { return };
            at.set(place);
            let shown = Shown { target: no.to_string(), ..shown.clone() };
            drop(navigator.push_with_query(&Route::Targets { id }, shown));
        })
    };
    let on_move = {
        let at = at.setter();
        use_callback((), move |place, ()| at.set(place))
    };
    let options: Vec<(AttrValue, AttrValue)> =
        [("", "All targets"), (NEEDY, "Those that need somebody")]
            .into_iter()
            .chain(TargetState::ALL.map(|state| (state.as_str(), words::target_state(state).text)))
            .map(|(value, text)| (value.into(), text.into()))
            .collect();
    let (len, changed) = (source.grid().len(), source.grid().changed());
    let cells = shown.view == CELLS;
    let look = |word: &'static str, view: &'static str| {
        let onclick =
            go(|shown, view| shown.view = view).reform(move |_: MouseEvent| view.to_owned());
        html! {
            <button type="button" class="button toggle" aria-pressed={(cells == (view == CELLS)).to_string()}
                {onclick} data-testid={format!("targets-{}", word.to_lowercase())}>{ word }</button>
        }
    };
    let close = go(|shown, _| shown.target.clear()).reform(|()| String::new());
    let count = |number: usize| format::number(u64::try_from(number).unwrap_or(u64::MAX));
    html! {
        <>
            if let Some(progress) = progress {
                <section class="target-bar" aria-label="How far it is" data-testid="targets-progress">
                    // While it is paused, the reason stands beside the brakes.
                    if progress.state != "paused" {
                        { rollout_reason(progress) }
                    }
                    <TargetCounts change={id} progress={progress.clone()} chosen={shown.only()} kept={shown.kept()} />
                    <p class="small" data-testid="rollout-stage">{ stage(progress) }</p>
                </section>
            }
            <div class="filters" role="search">
                <SearchInput value={shown.q.clone()} placeholder="Search names of targets"
                    on_search={go(|shown, text| shown.q = text)} testid="targets-search" />
                <FilterSelect label="State" value={shown.state.clone()} {options} testid="targets-filter"
                    on_change={go(|shown, state| shown.state = state)} />
                <div class="choices" role="group" aria-label="View">
                    { look("Rows", "") }
                    { look("Cells", CELLS) }
                </div>
                <p class="target-news faint small" role="status">
                    <span data-testid="targets-count">{ format!("{} shown", count(len)) }</span>
                    if changed > 0 {
                        <button type="button" class="button small" data-testid="targets-show"
                            title="Puts each where it belongs now"
                            onclick={let source = source.clone(); move |_| source.lay_out()}>
                            { format!("{} changed · show", count(changed)) }
                        </button>
                    }
                </p>
            </div>
            if let Some(error) = source.error() {
                <ProblemNote {error} retry={let source = source.clone(); move |()| source.lay_out()} />
            }
            if source.ready() && len == 0 {
                <Empty glyph={Glyph::Search} title="No target fits" testid="targets-empty">
                    <Link to={Route::Targets { id }} class="button">{ "Show all targets" }</Link>
                </Empty>
            } else if !source.ready() {
                <Skeleton lines={12} />
            } else if cells {
                <cells::Cells source={source.clone()} at={*at} {on_move} {on_open} />
            } else {
                <rows::Rows source={source.clone()} at={*at} {on_move} {on_open} />
            }
            if let Some(no) = open {
                <drawer::Drawer change={id} {no} on_close={close}
                    position={source.grid().row(no).map(|row| row.position)} />
            }
        </>
    }
}
