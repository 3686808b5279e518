//! The plan is another one than the reader looked at: what is different, side by side. Nothing is decided
//! before they say that they have seen it.

use std::rc::Rc;

use nexplane_core::api::ChangeView;
use nexplane_core::plan::DiffLine;
use yew::prelude::*;

use super::digest;
use crate::component::badge::Callout;
use crate::component::diff::Lines;
use crate::component::icon::Glyph;
use crate::moved::{self, MovedField};
use crate::words::Tone;
use crate::{diff, format};

#[derive(Properties, PartialEq)]
pub struct PlanMovedProps {
    pub old: Rc<ChangeView>,
    pub new: Rc<ChangeView>,
    pub on_seen: Callback<()>,
}

#[component]
pub fn PlanMoved(props: &PlanMovedProps) -> Html {
    let PlanMovedProps { old, new, on_seen } = props;
    let moved = moved::compare(old, new);
    let same = u64::try_from(moved.same).unwrap_or(u64::MAX);
    let onclick = on_seen.reform(|_: MouseEvent| ());
    html! {
        <section class="panel plan-moved" aria-labelledby="moved-title" role="alert" data-testid="plan-moved"
            data-old={digest(old).to_owned()} data-new={digest(new).to_owned()}>
            <h2 id="moved-title">{ "The plan changed while you were looking" }</h2>
            <Callout tone={Tone::Waiting} glyph={Glyph::Warning}>
                <p>
                    { "You looked at plan " }<code>{ short(old) }</code>{ "; now it is " }
                    <code>{ short(new) }</code>{ ". Nothing was approved." }
                </p>
            </Callout>
            if !moved.besides.is_empty() {
                <ul class="moved-besides">
                    { for moved.besides.iter().map(|sentence| html! { <li>{ *sentence }</li> }) }
                </ul>
            }
            if moved.fields.is_empty() {
                <p data-testid="moved-same">
                    { "The diff is the same. What differs is what it was made of, or when the target was read." }
                </p>
            } else {
                <div class="moved-fields">{ for moved.fields.iter().map(field) }</div>
                if same > 0 {
                    <p class="faint small">
                        { format!("{} as before.", format::count(same, "field changes", "fields change")) }
                    </p>
                }
            }
            <p class="actions">
                <button type="button" class="button primary" {onclick} data-testid="moved-seen"
                    disabled={new.plan.is_none()}>
                    { "I have seen it, decide on the new plan" }
                </button>
            </p>
        </section>
    }
}

fn short(change: &ChangeView) -> String {
    match digest(change) {
        "" => "none".to_owned(),
        digest => format::short_digest(digest).to_owned(),
    }
}

fn field(field: &MovedField) -> Html {
    html! {
        <div class="moved-field" data-testid="moved-field" data-field={field.field.clone()}>
            <h3><code>{ &field.target }</code>{ " · " }{ format::humanise(&field.field) }</h3>
            <div class="moved-sides">
                { side("You looked at", field.old.as_ref()) }
                { side("Now", field.new.as_ref()) }
            </div>
        </div>
    }
}

fn side(word: &'static str, line: Option<&DiffLine>) -> Html {
    html! {
        <div class="moved-side">
            <p class="faint small">{ word }</p>
            if let Some(line) = line {
                <Lines lines={diff::values(&line.before, &line.after)} />
            } else {
                <p class="faint">{ "It is not in the plan." }</p>
            }
        </div>
    }
}
