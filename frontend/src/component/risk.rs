//! The risk with its reasons.

use nexplane_core::risk::{Factor, Risk};
use yew::prelude::*;

use super::badge::RiskBadge;
use crate::words;

#[derive(Properties, PartialEq)]
pub struct RiskPanelProps {
    pub risk: Risk,
}

#[component]
pub fn RiskPanel(props: &RiskPanelProps) -> Html {
    let risk = &props.risk;
    html! {
        <div class="risk-panel" data-testid="risk-panel">
            <div class="risk-total">
                <RiskBadge risk={risk.clone()} />
                <Meter score={risk.score} />
            </div>
            <ul class="factors">{ for risk.factors.iter().map(factor) }</ul>
        </div>
    }
}

fn factor(factor: &Factor) -> Html {
    html! {
        <li class="factor" data-testid="risk-factor">
            <span class="factor-value">{ signed(factor.value) }</span>
            <span>
                <b>{ words::factor(&factor.name) }</b>
                <span class="factor-because">{ &factor.because }</span>
            </span>
        </li>
    }
}

/// `+1.3`, `−0.8`, `0`.
fn signed(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    let size = rounded.abs();
    if size < 0.05 {
        "0".to_owned()
    } else if rounded < 0.0 {
        format!("−{size}")
    } else {
        format!("+{size}")
    }
}

#[derive(Properties, PartialEq)]
pub struct MeterProps {
    /// 1–10.
    pub score: u8,
}

/// Ten marks, as many filled as the score.
#[component]
pub fn Meter(props: &MeterProps) -> Html {
    let marks = (0..10_u8).map(|mark| {
        let class = if mark < props.score { "meter-on" } else { "meter-off" };
        html! { <rect x={(mark * 10).to_string()} y="0" width="8" height="6" rx="1.5" {class} /> }
    });
    let level = nexplane_core::risk::RiskLevel::of(props.score);
    let tone = words::risk_level(level).tone;
    html! {
        <svg class={classes!("meter", tone.class())} viewBox="0 0 98 6" role="img"
            aria-label={format!("{} of 10", props.score)}>
            { for marks }
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_carry_their_sign() {
        assert_eq!(signed(1.26), "+1.3");
        assert_eq!(signed(-0.8), "−0.8");
        assert_eq!(signed(0.01), "0");
        assert_eq!(signed(-0.04), "0");
    }
}
