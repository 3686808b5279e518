//! Words with a look: states, levels, environments.

use nexplane_core::api::{ChangeState, StepState};
use nexplane_core::risk::{Environment, Risk};
use yew::prelude::*;

use super::icon::{Glyph, Icon};
use crate::words::{self, Label};

#[derive(Properties, PartialEq)]
pub struct BadgeProps {
    pub label: Label,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
    /// A sentence behind the word.
    #[prop_or_default]
    pub title: Option<AttrValue>,
    /// For programs: the state's stable name.
    #[prop_or_default]
    pub value: Option<AttrValue>,
}

#[component]
pub fn Badge(props: &BadgeProps) -> Html {
    let Label { text, tone, glyph } = props.label;
    html! {
        <span class={classes!("badge", tone.class())} data-testid={props.testid.clone()}
            data-state={props.value.clone()} title={props.title.clone()}>
            <Icon {glyph} />{ text }
        </span>
    }
}

#[derive(Properties, PartialEq)]
pub struct StateBadgeProps {
    pub state: ChangeState,
    /// A person said so: no target was read.
    pub settled: bool,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
}

#[component]
pub fn StateBadge(props: &StateBadgeProps) -> Html {
    html! {
        <Badge label={words::change_standing(props.state, props.settled)} value={props.state.as_str()}
            testid={props.testid.clone()} />
    }
}

#[derive(Properties, PartialEq)]
pub struct StepBadgeProps {
    pub state: StepState,
}

#[component]
pub fn StepBadge(props: &StepBadgeProps) -> Html {
    html! {
        <Badge label={words::step_state(props.state)} value={props.state.as_str()}
            testid="step-state" />
    }
}

#[derive(Properties, PartialEq)]
pub struct RiskBadgeProps {
    pub risk: Option<Risk>,
}

/// Score and level; a dash before the risk is known.
#[component]
pub fn RiskBadge(props: &RiskBadgeProps) -> Html {
    let Some(risk) = &props.risk else {
        return html! { <span class="faint" title="Known once it is planned">{ "—" }</span> };
    };
    let Label { text, tone, glyph } = words::risk_level(risk.level);
    html! {
        <span class={classes!("risk", tone.class())} data-testid="risk-level"
            data-state={risk.level.as_str()}
            title={format!("Risk {} of 10: {}", risk.score, text.to_lowercase())}>
            <Icon {glyph} />
            <span class="risk-score">{ risk.score }</span>
            <span class="risk-word">{ text }</span>
        </span>
    }
}

#[derive(Properties, PartialEq)]
pub struct EnvironmentBadgeProps {
    pub environment: Environment,
}

#[component]
pub fn EnvironmentBadge(props: &EnvironmentBadgeProps) -> Html {
    let environment = props.environment;
    html! {
        <span class={classes!("tag", format!("env-{}", environment.as_str()))}
            title={words::environment(environment)}>
            { environment.as_str() }
        </span>
    }
}

#[derive(Properties, PartialEq)]
pub struct CalloutProps {
    pub tone: words::Tone,
    pub glyph: Glyph,
    #[prop_or_default]
    pub testid: Option<AttrValue>,
    pub children: Html,
}

/// A sentence that must not be overlooked.
#[component]
pub fn Callout(props: &CalloutProps) -> Html {
    html! {
        <div class={classes!("callout", props.tone.class())} data-testid={props.testid.clone()}>
            <Icon glyph={props.glyph} />
            <div class="callout-body">{ props.children.clone() }</div>
        </div>
    }
}
