//! Every "no" of an asset.

use crate::aggregate::Reject;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssetRejection {
    #[error("There is no such asset. Run a discovery of its connection to find it.")]
    NotFound,
    #[error("This needs {needed}. Ask an admin for the role, or somebody who has it to do it.")]
    Denied { needed: &'static str },
    #[error("{field}: {problem}")]
    Invalid { field: &'static str, problem: String },
    #[error(
        "This asset is {asset_type} '{external_key}' of its connection for ever. Observe something else under an id of its own."
    )]
    OtherIdentity { asset_type: String, external_key: String },
}

impl Reject for AssetRejection {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Denied { .. } => "access.denied",
            Self::Invalid { .. } => "validation.failed",
            Self::OtherIdentity { .. } => "asset.other_identity",
        }
    }
}
