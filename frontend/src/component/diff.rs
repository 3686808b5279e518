//! Before and after, with signs as well as colours.

use nexplane_core::plan::DiffLine;
use yew::prelude::*;

use crate::diff::{self, FieldDiff, Line, TargetDiff};
use crate::format;

#[derive(Properties, PartialEq)]
pub struct DiffProps {
    pub diff: Vec<DiffLine>,
    /// Lines shown of each field; all when absent.
    #[prop_or_default]
    pub limit: Option<usize>,
}

#[component]
pub fn Diff(props: &DiffProps) -> Html {
    if props.diff.is_empty() {
        return html! {
            <p class="faint" data-testid="diff-empty">
                { "Nothing that can be compared changes: the steps below say what happens." }
            </p>
        };
    }
    let mut targets = diff::by_target(&props.diff);
    if let Some(limit) = props.limit {
        for field in targets.iter_mut().flat_map(|target| &mut target.fields) {
            diff::cut(&mut field.lines, limit);
        }
    }
    html! { <div class="diff" data-testid="diff">{ for targets.into_iter().map(target) }</div> }
}

fn target(target: TargetDiff) -> Html {
    html! {
        <section class="diff-target" aria-label={format!("Changes of {}", target.target)}>
            <h3 class="diff-name"><code>{ target.target }</code></h3>
            { for target.fields.into_iter().map(field) }
        </section>
    }
}

fn field(field: FieldDiff) -> Html {
    html! {
        <div class="diff-field" data-testid="diff-field">
            <div class="diff-label" title={field.field.clone()}>{ format::humanise(&field.field) }</div>
            <Lines lines={field.lines} />
        </div>
    }
}

#[derive(Properties, PartialEq)]
pub struct LinesProps {
    pub lines: Vec<Line>,
}

#[component]
pub fn Lines(props: &LinesProps) -> Html {
    html! { <div class="diff-lines">{ for props.lines.iter().map(line) }</div> }
}

fn line(line: &Line) -> Html {
    let (class, sign, spoken, text) = match line {
        Line::Same(text) => ("diff-same", " ", "", text.clone()),
        Line::Removed(text) => ("diff-removed", "−", "before: ", text.clone()),
        Line::Added(text) => ("diff-added", "+", "after: ", text.clone()),
        Line::Skipped(count) => {
            let lines = u64::try_from(*count).unwrap_or(u64::MAX);
            ("diff-skipped", "⋯", "", format::count(lines, "unchanged line", "unchanged lines"))
        }
        Line::More(count) => {
            let lines = u64::try_from(*count).unwrap_or(u64::MAX);
            ("diff-skipped", "⋯", "", format::count(lines, "more line", "more lines"))
        }
    };
    html! {
        <div class={classes!("diff-line", class)}>
            <span class="diff-sign" aria-hidden="true">{ sign }</span>
            <span class="visually-hidden">{ spoken }</span>
            <code>{ text }</code>
        </div>
    }
}
