//! Writes the steps of a plan for many targets, page after page, and reads them back.

use nexplane_core::aggregate::Principal;
use nexplane_core::id::{ChangeId, ManifestId};
use nexplane_core::manifest::{Manifest, ManifestCommand, ManifestRejection};
use nexplane_core::plan::Step;
use nexplane_store::log::Log;
use uuid::Uuid;

use crate::stream::{self, LoadError, Request, StreamError};

/// Bytes of the steps of one page, about: a record has room for twice as many.
const PAGE_BYTES: usize = 200 * 1024;

/// A manifest of these steps, numbered in their order. One that could not be written whole stays behind
/// without a meaning.
pub async fn write(
    log: &Log,
    change: ChangeId,
    steps: &[Step],
) -> Result<ManifestId, StreamError<ManifestRejection>> {
    let manifest = ManifestId(Uuid::now_v7());
    for page in pages(steps) {
        let mut request = Request::once(Principal::SYSTEM, stream::now());
        (request.correlation, request.causation) = (change.0, change.0);
        let command = ManifestCommand::AddPage { change, steps: page.to_vec() };
        stream::execute::<Manifest>(log, manifest.into(), &request, command).await?;
    }
    Ok(manifest)
}

/// All steps of a manifest. Whether they are those of a plan is for the plan to say.
pub async fn read(log: &Log, manifest: ManifestId) -> Result<Vec<Step>, LoadError> {
    Ok(stream::load::<Manifest>(log, manifest.into()).await?.state.steps)
}

fn pages(steps: &[Step]) -> Vec<&[Step]> {
    let size = |step: &Step| serde_json::to_vec(step).map_or(PAGE_BYTES, |text| text.len());
    let (mut pages, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (at, step) in steps.iter().enumerate() {
        let more = size(step);
        if at > first && bytes + more > PAGE_BYTES {
            pages.extend(steps.get(first..at));
            (first, bytes) = (at, 0);
        }
        bytes += more;
    }
    pages.extend(steps.get(first..).filter(|rest| !rest.is_empty()));
    pages
}
