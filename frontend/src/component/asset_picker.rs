//! Choosing targets: the assets of a connection that an action can act on.

use nexplane_core::api::AssetView;
use nexplane_core::id::{AssetId, ConnectionId};
use web_sys::HtmlInputElement;
use yew::prelude::*;

use super::icon::{Glyph, Icon};
use super::input::FilterSelect;
use super::problem::ProblemNote;
use super::skeleton::Skeleton;
use crate::resource::use_list;
use crate::{format, query};

/// A chosen asset, as much of it as is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub id: AssetId,
    pub name: String,
}

#[derive(Properties, PartialEq)]
pub struct AssetPickerProps {
    pub connection: ConnectionId,
    /// Asset types that can be chosen.
    pub types: Vec<String>,
    pub chosen: Vec<Chosen>,
    pub on_change: Callback<Vec<Chosen>>,
    #[prop_or_default]
    pub error: Option<AttrValue>,
}

#[component]
pub fn AssetPicker(props: &AssetPickerProps) -> Html {
    let typed = use_state_eq(String::new);
    let first = props.types.first().cloned().unwrap_or_default();
    let kind = use_state_eq(|| first.clone());
    {
        let kind = kind.setter();
        use_effect_with(first, move |first| kind.set(first.clone()));
    }
    let path = query::with(
        "/assets",
        &[
            ("connection", &props.connection.to_string()),
            ("type", &kind),
            ("q", typed.trim()),
            ("limit", "50"),
        ],
    );
    let assets = use_list::<AssetView>(Some(path));
    let oninput = {
        let typed = typed.setter();
        Callback::from(move |event: InputEvent| {
            typed.set(event.target_unchecked_into::<HtmlInputElement>().value());
        })
    };
    let toggle = {
        let (chosen, on_change) = (props.chosen.clone(), props.on_change.clone());
        Callback::from(move |asset: Chosen| {
            let mut chosen = chosen.clone();
            match chosen.iter().position(|other| other.id == asset.id) {
                Some(index) => drop(chosen.remove(index)),
                None => chosen.push(asset),
            }
            on_change.emit(chosen);
        })
    };
    let items = assets.items.clone().unwrap_or_default();
    let options = items.iter().filter(|asset| asset.status != "gone").map(|asset| {
        let chosen = Chosen { id: asset.id, name: asset.name.clone() };
        let checked = props.chosen.contains(&chosen);
        let toggle = toggle.clone();
        html! {
            <li key={asset.id.to_string()}>
                <label class={classes!("pick", checked.then_some("picked"))} data-testid="target-option">
                    <input type="checkbox" {checked} onchange={move |_| toggle.emit(chosen.clone())} />
                    <span class="pick-name">{ &asset.name }</span>
                    if asset.critical {
                        <span class="tag">{ "critical" }</span>
                    }
                    <code class="pick-key">{ &asset.external_key }</code>
                </label>
            </li>
        }
    });
    let chips = props.chosen.iter().map(|chosen| {
        let (toggle, chosen) = (toggle.clone(), chosen.clone());
        let label = format!("Remove {}", chosen.name);
        html! {
            <li class="chip" data-testid="target-chosen">
                { chosen.name.clone() }
                <button type="button" aria-label={label} onclick={move |_| toggle.emit(chosen.clone())}>
                    <Icon glyph={Glyph::Cross} />
                </button>
            </li>
        }
    });
    html! {
        <div class={classes!("field", props.error.is_some().then_some("field-wrong"))}>
            <label for="target-search">{ "Targets" }</label>
            if !props.chosen.is_empty() {
                <ul class="chips" aria-label="Chosen targets">{ for chips }</ul>
            }
            <div class="picker">
                <div class="picker-head">
                    <Icon glyph={Glyph::Search} />
                    <input id="target-search" type="text" class="bare" value={(*typed).clone()} {oninput}
                        placeholder="Search by name or key" autocomplete="off" spellcheck="false"
                        aria-invalid={props.error.is_some().then_some("true")}
                        data-testid="target-search" />
                    if props.types.len() > 1 {
                        <FilterSelect label="Type of target" testid="target-type"
                            value={(*kind).clone()} on_change={Callback::from({
                                let kind = kind.setter();
                                move |chosen| kind.set(chosen)
                            })}
                            options={props.types.iter().map(|kind| {
                                (kind.clone().into(), format::humanise(kind).into())
                            }).collect::<Vec<_>>()} />
                    }
                </div>
                if let Some(error) = assets.error.clone() {
                    <ProblemNote {error} />
                } else if assets.items.is_none() {
                    <Skeleton lines={3} />
                } else if items.is_empty() {
                    <p class="picker-none" data-testid="target-none">
                        { "No " }{ format::humanise(&kind).to_lowercase() }{ " found. " }
                        { if typed.trim().is_empty() {
                            "Run discovery on this connection first."
                        } else {
                            "Try fewer letters."
                        } }
                    </p>
                } else {
                    <ul class="picker-list" aria-busy={assets.loading.to_string()}>{ for options }</ul>
                }
                if assets.more {
                    <button type="button" class="button small quiet picker-more" onclick={
                        let assets = assets.clone();
                        move |_| assets.load_more()
                    }>{ "Show more" }</button>
                }
            </div>
            if let Some(error) = &props.error {
                <p class="field-error">{ error }</p>
            }
        </div>
    }
}
