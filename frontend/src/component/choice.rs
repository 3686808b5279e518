//! Somebody else saved first: both versions next to each other, and a choice per field.

use nexplane_core::time::Timestamp;
use yew::prelude::*;

use super::badge::Callout;
use super::icon::Glyph;
use super::time::Time;
use crate::merge::Side;
use crate::words::Tone;

/// A field that two people changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Stable, for programs.
    pub name: &'static str,
    pub label: &'static str,
    /// As they would be read; empty is "nothing".
    pub base: String,
    pub mine: String,
    pub theirs: String,
    /// What was chosen already.
    pub chosen: Option<Side>,
}

#[derive(Properties, PartialEq)]
pub struct ChoicesProps {
    pub rows: Vec<Row>,
    /// Who saved, and when, when that is known.
    #[prop_or_default]
    pub who: Option<(String, Timestamp)>,
    pub on_choose: Callback<(&'static str, Side)>,
    /// What comes after the table.
    #[prop_or_default]
    pub children: Html,
}

#[component]
pub fn Choices(props: &ChoicesProps) -> Html {
    html! {
        <Callout tone={Tone::Waiting} glyph={Glyph::Warning} testid="edit-conflict">
            <p role="alert">
                if let Some((who, at)) = &props.who {
                    <b>{ format!("{who} saved this meanwhile") }</b>{ ", " }<Time at={*at} />{ ". " }
                } else {
                    <b>{ "Somebody else saved this meanwhile. " }</b>
                }
                { "What you typed is still here. Choose which of both is to stand:" }
            </p>
            <ul class="plain choices-list">{ for props.rows.iter().map(|row| choice(props, row)) }</ul>
            { props.children.clone() }
        </Callout>
    }
}

fn choice(props: &ChoicesProps, row: &Row) -> Html {
    let side = |side: Side, word: &'static str, name: &'static str, text: &str| {
        let (on_choose, field) = (props.on_choose.clone(), row.name);
        let is_chosen = row.chosen == Some(side);
        html! {
            <div class="choice">
                <span class="faint small">{ word }</span>
                <code class="wrap-any">{ shown(text) }</code>
                <button type="button" class="button small toggle" aria-pressed={is_chosen.to_string()}
                    data-testid={format!("conflict-{name}")} data-field={field}
                    aria-label={format!("{}: {}", row.label, if side == Side::Mine { "keep yours" } else { "take theirs" })}
                    onclick={move |_| on_choose.emit((field, side))}>
                    { if side == Side::Mine { "Keep yours" } else { "Take theirs" } }
                </button>
            </div>
        }
    };
    html! {
        <li data-testid="conflict-field" data-field={row.name} key={row.name}>
            <b>{ row.label }</b>
            <p class="faint small">{ "When you began: " }<code class="wrap-any">{ shown(&row.base) }</code></p>
            <div class="choice-pair">
                { side(Side::Mine, "Yours", "mine", &row.mine) }
                { side(Side::Theirs, "Theirs", "theirs", &row.theirs) }
            </div>
        </li>
    }
}

fn shown(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text.to_owned() }
}
