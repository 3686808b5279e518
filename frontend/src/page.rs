//! One module per page.

pub mod approvals;
pub mod approve;
pub mod asset;
pub mod assets;
pub mod audit;
pub mod calendar;
pub mod change;
pub mod changes;
pub mod connection;
pub mod connection_form;
pub mod connections;
pub mod draft_form;
pub mod edit_change;
pub mod event;
pub mod first_run;
pub mod home;
pub mod host;
pub mod hosts;
pub mod login;
pub mod new_change;
pub mod operations;
pub mod people;
pub mod policies;
pub mod report;
pub mod risk;
pub mod targets;
