//! What a run was started under, as it is now: asked while it waits, and with the append of its first intent.

use nexplane_core::run::{RunRejection, Running, Terms};
use nexplane_store::log::Guard;

use super::engine::{Hold, Left};
use crate::project;
use crate::stream::{self, LoadError};

impl Hold<'_> {
    /// What it was started under, as it is now, while nothing of the execution was sent.
    pub(super) async fn terms(
        &self,
        run: &Running,
    ) -> Result<(Option<Terms>, Vec<Guard>), LoadError> {
        if run.has_begun || self.part.is_some_and(|part| part.round.has_begun()) {
            return Ok((None, Vec::new()));
        }
        let (terms, guards) =
            project::terms(&self.targets.log, self.change, self.execution).await?;
        Ok((Some(terms), guards))
    }

    /// Why no step of it may begin any more, as far as its own time and what it was started under say.
    pub(super) async fn refusal(&self, run: &Running) -> Result<Option<RunRejection>, Left> {
        let (terms, _) = self.terms(run).await?;
        Ok(run.may_begin(stream::now(), terms.as_ref()).err())
    }
}
