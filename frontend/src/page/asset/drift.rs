//! What differed between looks of discovery, and whether a change of ours explains it. The server judges.

use nexplane_core::api::{DriftKind, DriftVerdict, DriftView, FactChange};
use nexplane_core::id::AssetId;
use yew::prelude::*;

use crate::component::badge::Badge;
use crate::component::diff::Lines;
use crate::component::icon::Glyph;
use crate::component::link::Link;
use crate::component::problem::ProblemNote;
use crate::component::skeleton::Skeleton;
use crate::component::time::Time;
use crate::resource::use_list;
use crate::route::Route;
use crate::words::{Label, Tone};
use crate::{diff, format};

#[derive(Properties, PartialEq)]
pub struct DriftProps {
    pub id: AssetId,
    /// Of the asset: read again when it has another.
    pub version: u64,
    pub position: u64,
}

#[component]
pub fn Drift(props: &DriftProps) -> Html {
    let list = use_list::<DriftView>(Some(format!("/assets/{}/drift?limit=20", props.id)));
    {
        let (list, first, position) = (list.clone(), use_mut_ref(|| props.version), props.position);
        use_effect_with(props.version, move |version| {
            if *first.borrow() != *version {
                list.reload_at(Some(position));
            }
        });
    }
    html! {
        <section class="panel" aria-labelledby="drift-title" data-testid="drift">
            <h2 id="drift-title">{ "Drift" }</h2>
            if let Some(error) = list.error.clone() {
                <ProblemNote {error} retry={let list = list.clone(); move |()| list.reload()} />
            }
            if let Some(items) = list.items.clone() {
                if items.is_empty() {
                    <p class="faint" data-testid="drift-none">
                        { "Every look of discovery has found it as the first one did. What differs later is listed \
                           here, with the change that explains it." }
                    </p>
                } else {
                    <ol class="drift">{ for items.iter().map(one) }</ol>
                }
                if list.more {
                    <button type="button" class="button small" disabled={list.loading} data-testid="drift-more"
                        onclick={let list = list.clone(); move |_| list.load_more()}>{ "Earlier ones" }</button>
                }
            } else if list.error.is_none() {
                <Skeleton lines={3} />
            }
        </section>
    }
}

/// Green is what was read back; amber what nobody has explained.
const fn label(verdict: DriftVerdict) -> Label {
    match verdict {
        DriftVerdict::Explained => {
            Label { text: "Explained", tone: Tone::Neutral, glyph: Glyph::Check }
        }
        DriftVerdict::Partly => {
            Label { text: "Partly explained", tone: Tone::Waiting, glyph: Glyph::Warning }
        }
        DriftVerdict::Unexplained => {
            Label { text: "Unexplained", tone: Tone::Waiting, glyph: Glyph::Warning }
        }
    }
}

const fn name(verdict: DriftVerdict) -> &'static str {
    match verdict {
        DriftVerdict::Explained => "explained",
        DriftVerdict::Partly => "partly",
        DriftVerdict::Unexplained => "unexplained",
    }
}

fn one(drift: &DriftView) -> Html {
    let what = match drift.kind {
        DriftKind::Differs => {
            format!(
                "{} differ from the look before",
                format::count(drift.fact_count, "fact", "facts")
            )
        }
        DriftKind::Gone => "No longer found".to_owned(),
        DriftKind::Returned => "Found again".to_owned(),
    };
    let what = what.replace("1 fact differ ", "1 fact differs ");
    let left_out = drift.fact_count.saturating_sub(u64::try_from(drift.facts.len()).unwrap_or(0));
    html! {
        <li class="drift-one" key={drift.position.to_string()} data-testid="drift-one"
            data-verdict={name(drift.verdict)} data-position={drift.position.to_string()}>
            <p class="drift-head">
                <Badge label={label(drift.verdict)} testid="drift-verdict" />
                <b>{ what }</b>
                <span class="faint small"><Time at={drift.at} /></span>
            </p>
            <p class="small">
                { &drift.because }
                if let Some(change) = &drift.change {
                    { " " }
                    <Link to={Route::Change { id: change.id }} testid="drift-change">
                        { format!("#{} {}", change.number, change.title) }
                    </Link>
                }
            </p>
            if !drift.facts.is_empty() {
                <div class="diff">{ for drift.facts.iter().map(fact) }</div>
            }
            if left_out > 0 {
                <p class="faint small">{ format!("And {left_out} more, in the event.") }</p>
            }
        </li>
    }
}

fn fact(fact: &FactChange) -> Html {
    html! {
        <div class="diff-field">
            <div class="diff-label" title={fact.name.clone()}>
                { format::humanise(&fact.name) }
                if fact.verified { <span class="tag">{ "read back by it" }</span> }
            </div>
            <Lines lines={diff::values(&fact.before, &fact.after)} />
        </div>
    }
}
