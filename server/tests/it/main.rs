//! The server from the outside: real processes, real PostgreSQL.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of tests may fail like a test"
)]

/// Peers and cases of the connectors' own tests.
#[allow(dead_code, reason = "the connectors' tests use the rest")]
#[path = "../../../connectors/tests/it/over_the_api.rs"]
mod over_the_api;
use over_the_api::{fixture, suite, template};

mod approval_context;
mod approvals;
mod architecture;
mod attacks;
mod audit_command;
mod authorisation;
mod bad_input;
mod begin;
mod cancel;
mod cancel_race;
mod command_line;
mod conflict;
mod core_dump;
mod crash;
mod crash_kills;
mod crash_log;
mod crash_matrix;
mod crash_matrix_full;
mod crash_matrix_host;
mod crash_matrix_log;
mod crash_matrix_spool;
mod crash_stage;
mod discovery;
mod evidence;
mod fault_proxy;
mod foresight;
mod freeze;
mod freeze_race;
mod gates;
mod gateway_enroll;
mod gateway_job;
mod gateway_presence;
mod gateway_rig;
mod gateway_tls;
mod glass;
mod going_back;
mod golden;
mod harness;
mod harness_target;
mod harness_vault;
mod home;
mod host_orders;
mod journey_aws;
mod journey_host;
mod journey_ldap;
mod journey_postgres;
mod journey_redis;
mod journey_ssh;
mod journey_vault;
mod leak;
mod leak_actions;
mod leak_echo;
mod meeting;
mod operations;
mod planted;
mod policies;
mod policy_race;
mod project;
mod race;
mod real_host;
mod repeated;
mod replay;
mod reversible;
mod roles_race;
mod rollout;
mod rollout_cost;
mod rollout_fleet;
mod rollout_turns;
mod schedule;
mod seal;
mod second_person;
mod secret_refs;
mod settle;
mod simulated;
mod simulated_agents;
mod undo_until;
mod window;
mod witness;
