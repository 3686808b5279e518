//! Whether a change may run at a moment: asked of the server, which decides it as it does for a change.

use nexplane_core::api::{AssetView, ConnectionView, OpenView, Page};
use nexplane_core::id::AssetId;
use yew::prelude::*;
use yew_router::hooks::use_navigator;

use super::Asked;
use super::freeze::environments;
use crate::component::badge::Badge;
use crate::component::icon::{Glyph, Icon};
use crate::component::input::{SearchInput, Select, TextInput};
use crate::component::problem::ProblemNote;
use crate::component::time::{Sentence, Time};
use crate::resource::use_resource;
use crate::route::Route;
use crate::{clock, format, query, words};

#[derive(Properties, PartialEq)]
pub struct AskProps {
    pub asked: Asked,
}

#[component]
pub fn Ask(props: &AskProps) -> Html {
    let navigator = use_navigator().expect("every page is inside the router");
    let asked = &props.asked;
    let path = query::with(
        "/calendar/open",
        &[
            ("at", asked.at.as_str()),
            ("asset", &asked.asset),
            ("connection", &asked.connection),
            ("environment", &asked.environment),
        ],
    );
    let answer = use_resource::<OpenView>(Some(path));
    let connections =
        use_resource::<Page<ConnectionView>>(Some("/connections?limit=200".to_owned()));
    let change = {
        let (navigator, asked) = (navigator, asked.clone());
        move |change: fn(&mut Asked, String)| {
            let (navigator, asked) = (navigator.clone(), asked.clone());
            Callback::from(move |text: String| {
                let mut next = asked.clone();
                change(&mut next, text);
                // Of plain texts a query string can always be made.
                drop(navigator.replace_with_query(&Route::Calendar, next));
            })
        }
    };
    let at = asked
        .at
        .parse()
        .map_or_else(|_| String::new(), |at| format::local_input(at, clock::offset_minutes(at)));
    let mut through = vec![(AttrValue::from(""), AttrValue::from("Any connection"))];
    let known = connections.value.as_ref().map_or(&[][..], |page| page.items.as_slice());
    through.extend(known.iter().map(|it| (it.id.to_string().into(), it.name.clone().into())));
    let mut inside = vec![(AttrValue::from(""), AttrValue::from("Any environment"))];
    inside.extend(environments("In "));
    html! {
        <section class="panel" aria-labelledby="ask-title" data-testid="calendar-ask">
            <h2 id="ask-title">{ "May a change run?" }</h2>
            <div class="ask-form">
                <Select id="ask-environment" label="Environment" value={asked.environment.clone()} options={inside}
                    on_change={change(|asked, text| asked.environment = text)} testid="ask-environment" />
                <Select id="ask-connection" label="Connection" value={asked.connection.clone()} options={through}
                    on_change={change(|asked, text| { asked.connection = text; asked.asset.clear(); })} testid="ask-connection" />
                <TextInput id="ask-at" label="When" kind="datetime-local" optional=true value={at} testid="ask-at"
                    on_change={change(|asked, text| {
                        asked.at = clock::from_local_input(&text).map(|at| at.to_string()).unwrap_or_default();
                    })} />
                <Target asset={asked.asset.clone()} connection={asked.connection.clone()}
                    on_change={change(|asked, text| asked.asset = text)} />
            </div>
            <div class="ask-answer" role="status" aria-busy={answer.loading.to_string()}>
                if let Some(error) = answer.error.clone() {
                    <ProblemNote {error} />
                } else if let Some(view) = answer.value.as_deref() {
                    { said(view) }
                }
            </div>
        </section>
    }
}

fn said(view: &OpenView) -> Html {
    let label = if view.open {
        words::window_state(true)
    } else if view.freezes.is_empty() {
        words::window_state(false)
    } else {
        words::FROZEN
    };
    let judged: Vec<String> = view
        .environments
        .iter()
        .map(|it| it.as_str().to_owned())
        .chain(view.tags.iter().map(|tag| format!("tag {tag}")))
        .collect();
    html! {
        <>
            <p class="ask-sentence" data-testid="ask-sentence" data-open={view.open.to_string()}>
                <Badge {label} />{ " " }<Sentence text={view.sentence.clone()} />
            </p>
            if let Some(until) = view.until {
                <p class="faint small">{ "Open until " }<Time at={until} /></p>
            } else if let Some(opens) = view.opens {
                <p class="faint small">{ "Opens " }<Time at={opens} /></p>
            }
            if !judged.is_empty() {
                <p class="faint small">{ format!("Judged by {}.", judged.join(", ")) }</p>
            }
        </>
    }
}

#[derive(Properties, PartialEq)]
struct TargetProps {
    asset: String,
    connection: String,
    on_change: Callback<String>,
}

/// One asset, found by its name.
#[component]
fn Target(props: &TargetProps) -> Html {
    let typed = use_state_eq(String::new);
    let chosen: Option<AssetId> = props.asset.parse().ok();
    let view = use_resource::<AssetView>(chosen.map(|id| format!("/assets/{id}")));
    let looking = !typed.trim().is_empty();
    let path = query::with(
        "/assets",
        &[("q", typed.trim()), ("connection", &props.connection), ("limit", "6")],
    );
    let found = use_resource::<Page<AssetView>>((looking && chosen.is_none()).then_some(path));
    if let Some(id) = chosen {
        let name = view.value.as_ref().filter(|view| view.id == id);
        let name = name.map_or_else(|| format::short_id(id.0), |view| view.name.clone());
        let clear = props.on_change.reform(|_: MouseEvent| String::new());
        return html! {
            <div class="field">
                <span class="field-label">{ "Asset" }</span>
                <span class="chip" data-testid="ask-asset-chosen">{ &name }
                    <button type="button" aria-label={format!("Not {name}")} onclick={clear}><Icon glyph={Glyph::Cross} /></button>
                </span>
            </div>
        };
    }
    let rows =
        found.value.as_ref().filter(|_| looking).map_or(&[][..], |page| page.items.as_slice());
    html! {
        <div class="field">
            <span class="field-label">{ "Asset" }<span class="optional">{ " optional" }</span></span>
            <SearchInput value="" placeholder="Find an asset" testid="ask-asset"
                on_search={let typed = typed.setter(); move |text| typed.set(text)} />
            if looking {
                <div class="button-list" data-testid="ask-assets">
                    { for rows.iter().map(|asset| {
                        let (id, typed) = (asset.id.to_string(), typed.setter());
                        let choose = props.on_change.reform(move |_: MouseEvent| {
                            typed.set(String::new());
                            id.clone()
                        });
                        html! {
                            <button key={asset.id.to_string()} type="button" class="button small" onclick={choose}
                                data-testid="ask-asset-option">{ &asset.name }</button>
                        }
                    }) }
                    if rows.is_empty() && !found.loading {
                        <span class="faint small">{ "No asset has that name." }</span>
                    }
                </div>
            }
        </div>
    }
}
