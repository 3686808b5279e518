//! What can be asked of the policy. It is an admin's, signed in.

use crate::policy::document::PolicyDocument;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyCommand {
    Publish {
        /// Keeps the floor.
        document: PolicyDocument,
        /// 1–500 characters.
        note: String,
        /// The version that whoever wrote it had in view.
        based_on: u32,
    },
}
