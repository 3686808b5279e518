//! The table of routes. What is not in it does not exist.

use nexplane_core::actor::Role;
use nexplane_core::{api, catalog};

use super::route::{Access, Route, delete, get, patch, post};
use super::{
    audit, calendar, changes, connections, context, delegations, drafts, drift, freezes, glass,
    home, hosts, inventory, live, log, operations, people, policies, projects, rollouts, schedules,
    session, system, targets, undo, views, windows,
};

const ADMIN: Access = Access::Roles(&[Role::Admin]);
const OPERATORS: Access = Access::Roles(&[Role::Operator, Role::Admin]);
const AUDITORS: Access = Access::Roles(&[Role::Auditor, Role::Admin]);

/// Every route of `/api/v1`.
pub fn routes() -> Vec<Route> {
    use Access::{Public, SignedIn};
    vec![
        get(
            "/approvals/inbox",
            SignedIn,
            changes::inbox,
            "What waits for approval, and whether I may give it",
        )
        .answers::<api::Page<api::InboxItem>>(),
        get("/assets", SignedIn, inventory::assets, "The inventory")
            .answers::<api::Page<api::AssetView>>(),
        get("/assets/{id}", SignedIn, inventory::asset, "One asset, now or as of any moment")
            .answers::<api::AssetView>(),
        patch(
            "/assets/{id}",
            OPERATORS,
            inventory::edit_asset,
            "Set the fields that belong to operators",
        )
        .takes::<api::EditAssetRequest>()
        .answers::<api::AssetView>(),
        get("/assets/{id}/blast-radius", SignedIn, inventory::blast_radius, "What depends on it")
            .answers::<api::BlastRadius>(),
        get(
            "/assets/{id}/drift",
            SignedIn,
            drift::list,
            "What differed between looks of discovery, and whether a change explains it",
        )
        .answers::<api::Page<api::DriftView>>(),
        get("/assets/{id}/history", SignedIn, inventory::asset_history, "Its events, newest first")
            .answers::<api::Page<api::EventView>>(),
        get("/audit", AUDITORS, audit::list, "Every event, newest first")
            .answers::<api::Page<api::EventView>>(),
        get(
            "/audit/events/{position}",
            AUDITORS,
            audit::event,
            "One event, its record, and what is around it",
        )
        .answers::<api::EventDetail>(),
        get(
            "/audit/events/{position}/proof",
            AUDITORS,
            log::proof,
            "The proof that it is in the log",
        )
        .answers::<api::EventProof>(),
        get(
            "/audit/export",
            AUDITORS,
            audit::export,
            "Every event that fits, oldest first, as JSON Lines or CSV",
        ),
        post(
            "/auth/first-run",
            Public,
            session::first_run,
            "Make the first admin with the one-time link",
        )
        .takes::<api::FirstRunRequest>()
        .answers::<api::LoginResponse>(),
        post("/auth/login", Public, session::login, "Sign in")
            .takes::<api::LoginRequest>()
            .answers::<api::LoginResponse>(),
        post("/auth/logout", SignedIn, session::logout, "End the session at once").status(204),
        get("/auth/me", SignedIn, session::me, "Who I am").answers::<api::Me>(),
        post("/auth/refresh", Public, session::refresh, "Another token for a session that lasts")
            .answers::<api::LoginResponse>(),
        get("/calendar", SignedIn, calendar::span, "Everything in the calendar in a span of time")
            .answers::<api::CalendarView>(),
        get(
            "/calendar/open",
            SignedIn,
            calendar::open,
            "Whether a change may run at a moment, until when, and when otherwise",
        )
        .answers::<api::OpenView>(),
        get("/catalog", SignedIn, system::catalog, "Connectors, actions and their parameters")
            .answers::<catalog::Catalog>(),
        get("/change-requests", SignedIn, changes::list, "Change requests, newest first")
            .answers::<api::Page<api::ChangeView>>(),
        post("/change-requests", SignedIn, drafts::draft, "Draft a change")
            .takes::<api::DraftRequest>()
            .answers::<api::ChangeView>()
            .status(201),
        get(
            "/change-requests/{id}",
            SignedIn,
            changes::show_one,
            "One change, now or as of any moment",
        )
        .answers::<api::ChangeView>(),
        patch(
            "/change-requests/{id}",
            SignedIn,
            drafts::edit,
            "Edit a draft, or reopen its review",
        )
        .takes::<api::EditRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/approve",
            SignedIn,
            changes::approve,
            "Approve a plan by its digest",
        )
        .takes::<api::ApproveRequest>()
        .answers::<api::ChangeView>(),
        get(
            "/change-requests/{id}/blast-radius",
            SignedIn,
            undo::blast_radius,
            "What depends on its targets, the nearest first",
        )
        .answers::<api::ChangeRadius>(),
        post(
            "/change-requests/{id}/break-glass",
            SignedIn,
            glass::break_glass,
            "Stand for the whole quorum of its plan in an emergency, to be reviewed afterwards",
        )
        .takes::<api::BreakGlassRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/cancel",
            SignedIn,
            changes::cancel,
            "Give it up; of a change that executes, begin no further step",
        )
        .takes::<api::ReasonRequest>()
        .answers::<api::ChangeView>(),
        get(
            "/change-requests/{id}/context",
            SignedIn,
            context::show,
            "What to know before approving it: why me, who else, similar changes, whether undoing it ever worked",
        )
        .answers::<api::ChangeContext>(),
        get("/change-requests/{id}/events", SignedIn, changes::events, "Its history, oldest first")
            .answers::<api::Page<api::EventView>>(),
        post(
            "/change-requests/{id}/execute",
            SignedIn,
            changes::execute,
            "Execute an approved change",
        )
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/override-freeze",
            SignedIn,
            freezes::override_freeze,
            "Let its plan pass a freeze, to be reviewed afterwards",
        )
        .takes::<api::OverrideFreezeRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/override-window",
            SignedIn,
            windows::override_window,
            "Let its plan run outside of maintenance windows, to be reviewed afterwards",
        )
        .takes::<api::OverrideWindowRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/pause",
            SignedIn,
            rollouts::pause,
            "Begin no further target of its rollout until it is resumed",
        )
        .takes::<api::ReasonRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/plan",
            SignedIn,
            changes::plan,
            "Plan it against the real target",
        )
        .answers::<api::ChangeView>(),
        post("/change-requests/{id}/reject", SignedIn, changes::reject, "Reject it")
            .takes::<api::ReasonRequest>()
            .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/resume",
            SignedIn,
            rollouts::resume,
            "Let its paused rollout go on",
        )
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/review",
            SignedIn,
            freezes::review,
            "Look back at what responders did for it",
        )
        .takes::<api::ReviewRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/rollback",
            SignedIn,
            changes::rollback,
            "Make the change that undoes it",
        )
        .answers::<api::ChangeView>()
        .status(201),
        post(
            "/change-requests/{id}/settle",
            SignedIn,
            changes::settle,
            "Say what you found, when its outcome is unknown",
        )
        .takes::<api::SettleRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/stop",
            SignedIn,
            rollouts::stop,
            "Begin no further target of its rollout, for good",
        )
        .takes::<api::ReasonRequest>()
        .answers::<api::ChangeView>(),
        post(
            "/change-requests/{id}/submit",
            SignedIn,
            changes::submit,
            "Ask for approval of the plan",
        )
        .answers::<api::ChangeView>(),
        get(
            "/change-requests/{id}/targets",
            SignedIn,
            targets::list,
            "The targets of its rollout, those that need somebody first",
        )
        .answers::<api::Page<api::RolloutTargetView>>(),
        get(
            "/change-requests/{id}/targets/order",
            SignedIn,
            targets::order,
            "Where every target of its rollout is, in the order of the list",
        )
        .answers::<api::RolloutTargetOrder>(),
        get(
            "/change-requests/{id}/targets/{no}",
            SignedIn,
            targets::one,
            "One target of its rollout, as planned and as it went",
        )
        .answers::<api::RolloutTargetDetail>(),
        get(
            "/change-requests/{id}/undo",
            SignedIn,
            undo::preview,
            "What undoing it would set, field by field, and what is known of now",
        )
        .answers::<api::UndoView>(),
        post(
            "/change-requests/{id}/withdraw",
            SignedIn,
            changes::withdraw,
            "Take it back to draft",
        )
        .answers::<api::ChangeView>(),
        get("/connections", SignedIn, connections::list, "Connections, without credentials")
            .answers::<api::Page<api::ConnectionView>>(),
        post("/connections", ADMIN, connections::add, "Add a connection")
            .takes::<api::NewConnectionRequest>()
            .answers::<api::ConnectionView>()
            .status(201),
        delete(
            "/connections/{id}",
            ADMIN,
            connections::remove,
            "Remove a connection and its credentials",
        )
        .status(204),
        get("/connections/{id}", SignedIn, connections::show_one, "One connection")
            .answers::<api::ConnectionView>(),
        patch(
            "/connections/{id}",
            ADMIN,
            connections::edit,
            "Rename, relabel, or replace credentials",
        )
        .takes::<api::EditConnectionRequest>()
        .answers::<api::ConnectionView>(),
        post(
            "/connections/{id}/discover",
            OPERATORS,
            connections::discover,
            "Read everything it sees into the inventory",
        )
        .answers::<api::DiscoverResult>(),
        post(
            "/connections/{id}/test",
            OPERATORS,
            connections::test,
            "Test it, a line per permission",
        )
        .answers::<api::TestResult>(),
        get(
            "/connections/{id}/history",
            SignedIn,
            connections::history,
            "Its settings, tests and discoveries, newest first",
        )
        .answers::<api::Page<api::EventView>>(),
        get("/freeze-windows", SignedIn, freezes::list, "Freezes, newest first")
            .answers::<api::Page<api::FreezeView>>(),
        post("/freeze-windows", ADMIN, freezes::declare, "Declare a freeze")
            .takes::<api::DeclareFreezeRequest>()
            .answers::<api::FreezeView>()
            .status(201),
        post("/freeze-windows/{id}/end", ADMIN, freezes::end, "End a freeze before its time")
            .takes::<api::ReasonRequest>()
            .answers::<api::FreezeView>(),
        get(
            "/home",
            SignedIn,
            home::show,
            "What waits for me, what of mine runs and ended, today's calendar, and whether all is well",
        )
        .answers::<api::HomeView>(),
        get("/hosts", SignedIn, inventory::hosts, "Hosts with an agent")
            .answers::<api::Page<api::HostView>>(),
        get("/hosts/{id}", SignedIn, inventory::host, "One host").answers::<api::HostView>(),
        get("/hosts/{id}/history", SignedIn, hosts::history, "Events of a host")
            .answers::<api::Page<api::EventView>>(),
        get("/hosts/{id}/orders", SignedIn, hosts::orders, "Orders of a host, and its receipts")
            .answers::<api::Page<api::HostOrderView>>(),
        get("/hosts/summary", SignedIn, hosts::summary, "How many hosts have each status")
            .answers::<api::HostCounts>(),
        post(
            "/hosts/enrollment-tokens",
            ADMIN,
            inventory::invite_host,
            "A one-time token for an agent",
        )
        .takes::<api::EnrollmentTokenRequest>()
        .answers::<api::EnrollmentToken>()
        .status(201)
        .secret(),
        post("/hosts/{id}/revoke", ADMIN, inventory::revoke_host, "Shut a host out for good")
            .takes::<inventory::RevokeRequest>()
            .answers::<api::HostView>(),
        get("/live", Public, live::upgrade, "WebSocket with notices of what changed").status(101),
        get(
            "/log/checkpoint",
            SignedIn,
            log::checkpoint,
            "The newest signed checkpoint of the log",
        ),
        get(
            "/log/key",
            SignedIn,
            log::key,
            "The log's public key, for comparing with a pinned one",
        ),
        get(
            "/log/tile/{*path}",
            AUDITORS,
            log::tile,
            "Tiles of the log's Merkle tree, as in c2sp.org/tlog-tiles",
        ),
        get("/maintenance-windows", SignedIn, windows::list, "Maintenance windows, newest first")
            .answers::<api::Page<api::WindowView>>(),
        post("/maintenance-windows", ADMIN, windows::define, "Define a maintenance window")
            .takes::<api::DefineWindowRequest>()
            .answers::<api::WindowView>()
            .status(201),
        post(
            "/maintenance-windows/{id}/remove",
            ADMIN,
            windows::remove,
            "Remove a maintenance window",
        )
        .takes::<api::ReasonRequest>()
        .answers::<api::WindowView>(),
        get(
            "/operations",
            SignedIn,
            operations::show,
            "What waits, what has stalled, who carries out what, and how far the log is sealed",
        )
        .answers::<api::OperationsView>(),
        get("/policies", SignedIn, policies::list, "Versions of the approval policy, newest first")
            .answers::<api::Page<api::PolicyView>>(),
        post("/policies", ADMIN, policies::publish, "Publish the next version of the policy")
            .takes::<api::PublishPolicyRequest>()
            .answers::<api::PolicyView>()
            .status(201),
        post(
            "/policies/simulate",
            SignedIn,
            policies::simulate,
            "Hold a draft against everything that was submitted; changes nothing",
        )
        .takes::<api::SimulatePolicyRequest>()
        .answers::<api::SimulationView>(),
        get(
            "/projections",
            SignedIn,
            system::projections,
            "Position, lag and state of every read model",
        )
        .answers::<api::Page<api::ProjectionView>>(),
        get("/projects", SignedIn, projects::list, "Projects, newest first")
            .answers::<api::Page<api::ProjectView>>(),
        post(
            "/projects",
            SignedIn,
            projects::create,
            "Create a project, an ordered group of changes",
        )
        .takes::<api::NewProjectRequest>()
        .answers::<api::ProjectView>()
        .status(201),
        get(
            "/projects/{id}",
            SignedIn,
            projects::show_one,
            "One project, its members, their order, and what it waits for",
        )
        .answers::<api::ProjectView>(),
        patch("/projects/{id}", SignedIn, projects::edit, "Rename a project")
            .takes::<api::EditProjectRequest>()
            .answers::<api::ProjectView>(),
        post("/projects/{id}/close", SignedIn, projects::close, "Let its members go")
            .takes::<api::ReasonRequest>()
            .answers::<api::ProjectView>(),
        post(
            "/projects/{id}/dependencies",
            SignedIn,
            projects::depend,
            "Say which members have to be complete before one may start",
        )
        .takes::<api::DependenciesRequest>()
        .answers::<api::ProjectView>(),
        post(
            "/projects/{id}/execute",
            SignedIn,
            projects::execute,
            "Have every member started as soon as it may",
        )
        .answers::<api::ProjectView>(),
        post("/projects/{id}/members", SignedIn, projects::add_member, "Add a change")
            .takes::<api::AddMemberRequest>()
            .answers::<api::ProjectView>(),
        post(
            "/projects/{id}/remove-member",
            SignedIn,
            projects::remove_member,
            "Remove a change that no other member comes after",
        )
        .takes::<api::RemoveMemberRequest>()
        .answers::<api::ProjectView>(),
        post("/projects/{id}/rollback", SignedIn, projects::rollback, "Undo it, newest first")
            .takes::<api::ReasonRequest>()
            .answers::<api::ProjectView>(),
        get(
            "/risk/calibration",
            SignedIn,
            inventory::risk_calibration,
            "How finished changes went, by the score that they had",
        )
        .answers::<api::RiskCalibration>(),
        get("/risk/summary", SignedIn, inventory::risk_summary, "Open risk, and how changes ended")
            .answers::<api::RiskSummary>(),
        get("/saved-views", SignedIn, views::list, "My named filters of the list of changes")
            .answers::<api::Page<api::SavedView>>(),
        post("/saved-views", SignedIn, views::save, "Keep these instead of those that there are")
            .takes::<api::SaveViewsRequest>()
            .answers::<api::Page<api::SavedView>>(),
        get("/schedules", SignedIn, schedules::list, "Recurring changes, newest first")
            .answers::<api::Page<api::ScheduleView>>(),
        post("/schedules", SignedIn, schedules::create, "Have a change made again and again")
            .takes::<api::NewScheduleRequest>()
            .answers::<api::ScheduleView>()
            .status(201),
        get(
            "/schedules/{id}",
            SignedIn,
            schedules::show_one,
            "One recurring change, its next ticks, its last change and what it skipped",
        )
        .answers::<api::ScheduleView>(),
        patch("/schedules/{id}", SignedIn, schedules::edit, "Edit what is made, or when")
            .takes::<api::EditScheduleRequest>()
            .answers::<api::ScheduleView>(),
        post("/schedules/{id}/delete", SignedIn, schedules::delete, "Make no more changes of it")
            .takes::<api::ReasonRequest>()
            .answers::<api::ScheduleView>(),
        post("/schedules/{id}/pause", SignedIn, schedules::pause, "Make none until it is resumed")
            .takes::<api::ReasonRequest>()
            .answers::<api::ScheduleView>(),
        post("/schedules/{id}/resume", SignedIn, schedules::resume, "Go on from the next tick")
            .answers::<api::ScheduleView>(),
        get(
            "/secret-sources",
            ADMIN,
            connections::secret_sources,
            "Where secrets of a connection's credentials may be instead of in them",
        )
        .answers::<api::SecretSources>(),
        post(
            "/secrets/{id}/reveal",
            SignedIn,
            inventory::reveal,
            "Hand a produced secret over, once",
        )
        .answers::<api::RevealedSecret>()
        .secret(),
        get("/tokens", SignedIn, people::tokens, "API tokens")
            .answers::<api::Page<api::TokenView>>(),
        post("/tokens", SignedIn, people::add_token, "Make an API token")
            .takes::<people::NewTokenRequest>()
            .answers::<api::TokenView>()
            .status(201)
            .secret(),
        delete("/tokens/{id}", SignedIn, people::revoke_token, "Revoke an API token").status(204),
        get("/users", AUDITORS, people::list, "People").answers::<api::Page<api::UserView>>(),
        post("/users", ADMIN, people::add, "Add a person")
            .takes::<api::NewUserRequest>()
            .answers::<api::UserView>()
            .status(201)
            .secret(),
        patch("/users/{id}", ADMIN, people::edit, "Change roles, name or password")
            .takes::<api::EditUserRequest>()
            .answers::<api::UserView>(),
        get("/users/{id}/delegations", SignedIn, delegations::list, "Delegations of approving")
            .answers::<api::Page<api::DelegationView>>(),
        post("/users/{id}/delegations", SignedIn, delegations::add, "Delegate approving")
            .takes::<api::DelegateRequest>()
            .answers::<api::DelegationView>()
            .status(201),
        delete(
            "/users/{id}/delegations/{delegation}",
            SignedIn,
            delegations::end,
            "End a delegation of approving",
        )
        .status(204),
    ]
}
