//! The policy that is in force.

use crate::policy::VERSION;
use crate::policy::document::PolicyDocument;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyState {
    pub version: u32,
    pub document: PolicyDocument,
}

/// Until one is published, what is built in.
impl Default for PolicyState {
    fn default() -> Self {
        Self { version: VERSION, document: PolicyDocument::standard() }
    }
}
