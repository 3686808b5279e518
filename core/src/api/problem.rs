//! `application/problem+json` (RFC 9457).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// `about:blank`, or a page about this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What went wrong and what to do about it.
    pub detail: String,
    /// Stable, for programs: `change.own_approval`.
    pub code: String,
    /// The path that was asked.
    pub instance: String,
    pub trace_id: Uuid,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Changes that stand in the way (`change.out_of_order_rollback`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<Uuid>,
    /// Freezes that stand in the way (`change.frozen`), those that end last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<Uuid>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the request body.
    pub pointer: String,
    pub reason: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason: reason.into() }
    }
}
