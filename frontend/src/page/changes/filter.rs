//! The filters of the list of changes, as they stand in the address.

use nexplane_core::api::{ChangeState, ChangeView};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::query;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// One or more, with commas between them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// One or more levels, with commas between them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub risk: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub environment: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub connection: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub change_type: String,
    /// An asset.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// A person; `mine` wins.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub requester: String,
    /// `me` or `review`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub waits: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub q: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mine: bool,
}

impl Filter {
    /// What narrows the list, but for who asked.
    fn narrowing(&self) -> [(&'static str, &str); 8] {
        [
            ("state", &self.state),
            ("risk", &self.risk),
            ("environment", &self.environment),
            ("connection", &self.connection),
            ("change_type", &self.change_type),
            ("target", &self.target),
            ("waits", &self.waits),
            ("q", &self.q),
        ]
    }

    pub fn path(&self, me: Option<Uuid>) -> String {
        let requester = me.filter(|_| self.mine).map(|me| me.to_string());
        let requester = requester.unwrap_or_else(|| self.requester.clone());
        let own = [("requester", &*requester), ("limit", "50")];
        query::with("/change-requests", &[&self.narrowing()[..], &own].concat())
    }

    /// What follows the `?` in the address: the same filters are always the same text.
    pub fn query(&self) -> String {
        let own = [("requester", &*self.requester), ("mine", if self.mine { "true" } else { "" })];
        let address = query::with("", &[&self.narrowing()[..], &own].concat());
        address.trim_start_matches('?').to_owned()
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a change that just appeared belongs to this list; `None` when only the server can say.
    pub fn admits(&self, change: &ChangeView, me: Option<Uuid>) -> Option<bool> {
        if !self.q.is_empty() || !self.waits.is_empty() || !self.environment.is_empty() {
            return None;
        }
        let is_one_of =
            |wanted: &str, is: &str| wanted.is_empty() || wanted.split(',').any(|s| s == is);
        let level = change.risk.as_ref().map_or("", |risk| risk.level.as_str());
        Some(
            is_one_of(&self.state, change.state.as_str())
                && is_one_of(&self.risk, level)
                && is_one_of(&self.connection, &change.connection_id.to_string())
                && is_one_of(&self.change_type, &change.change_type)
                && is_one_of(&self.requester, &change.requester.to_string())
                && (self.target.is_empty()
                    || change.targets.iter().any(|target| target.to_string() == self.target))
                && (!self.mine || me == Some(change.requester.0)),
        )
    }

    /// Whether a state is among those that are shown by name.
    pub fn has_state(&self, state: ChangeState) -> bool {
        self.state.split(',').any(|wanted| wanted == state.as_str())
    }
}

/// The states in which somebody has to do something yet.
pub fn open_states() -> String {
    let open = ChangeState::ALL.into_iter().filter(|state| !state.is_settled());
    open.map(ChangeState::as_str).collect::<Vec<_>>().join(",")
}

/// A list with commas, with a name put in or taken out; in the order of `all`.
pub fn toggled(list: &str, name: &str, all: &[&str]) -> String {
    let has = |wanted: &str| list.split(',').any(|one| one == wanted);
    let kept = all.iter().filter(|one| has(one) != (**one == name));
    kept.copied().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_is_what_still_moves() {
        assert_eq!(open_states(), "draft,submitted,approved,scheduled,executing,rolling_back");
    }

    #[test]
    fn the_filter_asks_the_server() {
        let filter = Filter { state: "draft".to_owned(), mine: true, ..Filter::default() };
        let me = Uuid::nil();
        assert_eq!(
            filter.path(Some(me)),
            format!("/change-requests?state=draft&requester={me}&limit=50")
        );
        assert_eq!(filter.path(None), "/change-requests?state=draft&limit=50");
        assert_eq!(filter.query(), "state=draft&mine=true");
        assert_eq!(Filter::default().query(), "");
    }

    #[test]
    fn names_are_put_in_and_taken_out() {
        let all = ["low", "medium", "high"];
        assert_eq!(toggled("", "high", &all), "high");
        assert_eq!(toggled("high", "low", &all), "low,high");
        assert_eq!(toggled("low,high", "low", &all), "high");
        assert_eq!(toggled("high", "high", &all), "");
    }
}
