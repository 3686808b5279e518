//! The dashboard's addresses.

use nexplane_core::id::{AssetId, ChangeId, ConnectionId, HostId};
use yew_router::Routable;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Routable)]
pub enum Route {
    #[at("/")]
    Home,
    #[at("/changes")]
    Changes,
    #[at("/changes/new")]
    NewChange,
    #[at("/changes/:id/approve")]
    Approve { id: ChangeId },
    #[at("/changes/:id/edit")]
    EditChange { id: ChangeId },
    #[at("/changes/:id/targets")]
    Targets { id: ChangeId },
    #[at("/changes/:id/report")]
    Report { id: ChangeId },
    #[at("/changes/:id")]
    Change { id: ChangeId },
    #[at("/approvals")]
    Approvals,
    #[at("/assets")]
    Assets,
    #[at("/assets/:id")]
    Asset { id: AssetId },
    #[at("/connections")]
    Connections,
    #[at("/connections/:id")]
    Connection { id: ConnectionId },
    #[at("/hosts")]
    Hosts,
    #[at("/hosts/:id")]
    Host { id: HostId },
    #[at("/calendar")]
    Calendar,
    #[at("/audit")]
    Audit,
    #[at("/audit/:position")]
    Event { position: u64 },
    #[at("/policies")]
    Policies,
    #[at("/risk")]
    Risk,
    #[at("/people")]
    People,
    #[at("/operations")]
    Operations,
    #[at("/login")]
    Login,
    #[at("/first-run")]
    FirstRun,
    #[not_found]
    #[at("/404")]
    NotFound,
}

impl Route {
    /// The title of the page, for the browser's tab.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Changes => "Changes",
            Self::NewChange => "New change",
            Self::Approve { .. } => "Approve",
            Self::EditChange { .. } => "Edit change",
            Self::Change { .. } => "Change",
            Self::Targets { .. } => "Targets",
            Self::Report { .. } => "Change report",
            Self::Approvals => "Approvals",
            Self::Assets => "Assets",
            Self::Asset { .. } => "Asset",
            Self::Connections => "Connections",
            Self::Connection { .. } => "Connection",
            Self::Hosts => "Hosts",
            Self::Host { .. } => "Host",
            Self::Calendar => "Calendar",
            Self::Audit => "Audit",
            Self::Event { .. } => "Event",
            Self::Policies => "Policies",
            Self::Risk => "Risk",
            Self::People => "People and tokens",
            Self::Operations => "Operations",
            Self::Login => "Sign in",
            Self::FirstRun => "First run",
            Self::NotFound => "Not found",
        }
    }

    /// The entry of the navigation that this page belongs to.
    pub const fn section(self) -> Self {
        match self {
            Self::Changes
            | Self::NewChange
            | Self::EditChange { .. }
            | Self::Change { .. }
            | Self::Report { .. }
            | Self::Targets { .. } => Self::Changes,
            Self::Assets | Self::Asset { .. } => Self::Assets,
            Self::Audit | Self::Event { .. } => Self::Audit,
            Self::Connections | Self::Connection { .. } => Self::Connections,
            Self::Hosts | Self::Host { .. } => Self::Hosts,
            Self::Approvals | Self::Approve { .. } => Self::Approvals,
            Self::Home
            | Self::Calendar
            | Self::Policies
            | Self::Risk
            | Self::People
            | Self::Operations
            | Self::Login
            | Self::FirstRun
            | Self::NotFound => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_change_is_not_a_change_called_new() {
        assert_eq!(Route::recognize("/changes/new"), Some(Route::NewChange));
        let id: ChangeId = "0199b0c2-7d00-7a31-8f00-1234deadbeef".parse().unwrap();
        assert_eq!(Route::recognize(&format!("/changes/{id}")), Some(Route::Change { id }));
        let targets = format!("/changes/{id}/targets");
        assert_eq!(Route::recognize(&targets), Some(Route::Targets { id }));
        assert_eq!(Route::recognize(&format!("/changes/{id}/report")), Some(Route::Report { id }));
        assert_eq!(Route::recognize("/changes/other"), Some(Route::NotFound));
    }

    #[test]
    fn an_event_has_its_position_as_its_address() {
        assert_eq!(Route::recognize("/audit"), Some(Route::Audit));
        assert_eq!(Route::recognize("/audit/0"), Some(Route::Event { position: 0 }));
        assert_eq!(Route::recognize("/audit/-1"), Some(Route::NotFound));
    }
}
