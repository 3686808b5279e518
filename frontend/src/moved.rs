//! What became of a plan while somebody looked at it: a diff of two diffs.

use nexplane_core::api::{ChangeView, PlanView};
use nexplane_core::plan::DiffLine;

/// The old plan beside the new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Fields whose change is another one now, or is there in one of them only; in the new plan's order.
    pub fields: Vec<MovedField>,
    /// How many fields change as they did.
    pub same: usize,
    /// What else is different, in sentences.
    pub besides: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MovedField {
    pub target: String,
    pub field: String,
    pub old: Option<DiffLine>,
    pub new: Option<DiffLine>,
}

/// What is different now. A plan that is gone has no fields.
pub fn compare(old: &ChangeView, new: &ChangeView) -> Moved {
    let (before, after) = (lines(old.plan.as_ref()), lines(new.plan.as_ref()));
    let is_at = |line: &DiffLine, other: &DiffLine| {
        (&line.target, &line.field) == (&other.target, &other.field)
    };
    let moved = |line: &DiffLine, old: Option<&DiffLine>, new: Option<&DiffLine>| MovedField {
        target: line.target.clone(),
        field: line.field.clone(),
        old: old.cloned(),
        new: new.cloned(),
    };
    let mut fields = Vec::new();
    let mut same = 0;
    for line in after {
        match before.iter().find(|known| is_at(known, line)) {
            Some(known) if known == line => same += 1,
            known => fields.push(moved(line, known, Some(line))),
        }
    }
    for line in before {
        if !after.iter().any(|known| is_at(known, line)) {
            fields.push(moved(line, Some(line), None));
        }
    }
    Moved { fields, same, besides: besides(old, new) }
}

fn lines(plan: Option<&PlanView>) -> &[DiffLine] {
    plan.map(|plan| plan.diff.as_slice()).unwrap_or_default()
}

fn besides(old: &ChangeView, new: &ChangeView) -> Vec<&'static str> {
    let mut besides = Vec::new();
    let mut add = |differs: bool, sentence| {
        if differs {
            besides.push(sentence);
        }
    };
    add(old.targets != new.targets, "The targets are others.");
    add(old.parameters != new.parameters, "The parameters are others.");
    add(old.editors != new.editors, "Somebody else edited it.");
    add(old.auto_rollback != new.auto_rollback, "Whether it goes back by itself is different.");
    let (Some(old), Some(new)) = (&old.plan, &new.plan) else {
        add(true, "It has no plan now: it is a draft again.");
        return besides;
    };
    add(old.step_count != new.step_count, "It has another number of steps.");
    add(old.reversibility != new.reversibility, "Whether it can be undone is different.");
    besides
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn change(parameters: &Value, diff: &[(&str, i32, i32)]) -> ChangeView {
        let id = "0199b0c2-7d00-7a31-8f00-1234deadbeef";
        let diff: Vec<Value> = diff
            .iter()
            .map(|(field, before, after)| {
                json!({ "target": "app", "field": field, "before": before, "after": after })
            })
            .collect();
        let at = "2026-11-23T15:00:00Z";
        serde_json::from_value(json!({
            "id": id, "number": 1, "title": "t", "reason": "r", "state": "submitted",
            "change_type": "a.b", "connection_id": id, "targets": [], "parameters": parameters,
            "requester": id, "risk": null, "approvals": [], "approvals_needed": 1,
            "waiting_for": null, "run": null, "rollback_of": null, "rolled_back_by": null,
            "version": 1, "position": 1, "created_at": at, "updated_at": at,
            "plan": {
                "digest": "d", "steps": [], "diff": diff, "checks": [], "computed_at": at,
                "effect_class": "verifiable", "reversible": true,
                "reversibility": { "kind": "reversible" },
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_what_is_different_is_shown() {
        let old = change(&json!({}), &[("kept", 1, 2), ("other", 1, 2), ("gone", 1, 2)]);
        let new = change(&json!({ "limit": 2 }), &[("kept", 1, 2), ("other", 3, 2), ("new", 1, 2)]);
        let moved = compare(&old, &new);
        let shown: Vec<_> = moved
            .fields
            .iter()
            .map(|field| (field.field.as_str(), field.old.is_some(), field.new.is_some()))
            .collect();
        assert_eq!(shown, [("other", true, true), ("new", false, true), ("gone", true, false)]);
        assert_eq!(moved.same, 1);
        assert_eq!(moved.besides, ["The parameters are others."]);
    }

    #[test]
    fn a_plan_that_is_gone_is_said_to_be_gone() {
        let old = change(&json!({}), &[("kept", 1, 2)]);
        let new = ChangeView { plan: None, ..old.clone() };
        let moved = compare(&old, &new);
        assert_eq!(moved.fields.len(), 1);
        assert_eq!(moved.besides, ["It has no plan now: it is a draft again."]);
    }
}
