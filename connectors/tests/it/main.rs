//! Tests of the connectors against real peers. `real_`: the peer is the product itself.
//! `contract_`: a stand-in that keeps the peer's contract.

mod catalog;
mod conformance;
mod connection;
mod discovery;
mod fixture;
mod host;
mod login;
mod postgres_cases;
mod privileges;
