//! Reports that are told until the log has them: by the worker that made them, or out of the spool.

use std::time::Duration;

use nexplane_core::id::RunId;
use nexplane_core::run::Running;

use super::engine::{Engine, FIRST_PAUSE, Hold, Left, running_of};
use super::report::{Report, Told};
use crate::problem::chain;
use crate::stream::StreamError;

/// How long the log may take an outcome before that is kept on disk, too.
const PROMPT: Duration = Duration::from_millis(250);

/// How often outcomes on disk are told that nobody is at.
const TELL: Duration = Duration::from_secs(5);

impl Engine {
    /// Tells the log what waits on disk, until the server stops.
    pub async fn empty_spool(&self) {
        loop {
            if let Err(left) = self.tell_waiting(None).await {
                tracing::debug!(cause = %chain(&left), "outcomes on disk wait on");
            }
            tokio::select! {
                () = tokio::time::sleep(TELL) => {}
                () = self.stopped() => return,
            }
        }
    }

    /// Tells the log what waits on disk of this run, or of all that nobody is at.
    pub(super) async fn tell_waiting(&self, run: Option<RunId>) -> Result<(), Left> {
        for report in self.spool().waiting(run).await {
            if run.is_none() && self.is_at(report.run) {
                continue;
            }
            let (run, step, epoch) = (report.run, report.step, report.epoch);
            match report.tell(self.targets()).await {
                Ok(told) => {
                    let is_late = matches!(told, Told::Late(_));
                    tracing::info!(run.id = %run, step.no = step, epoch, is_late, "told the log an outcome that was on disk");
                    self.spool().forget(&report).await;
                }
                Err(left) if left.is_away() => return Err(left),
                Err(left) => {
                    let cause = chain(&left);
                    tracing::error!(run.id = %run, step.no = step, epoch, %cause, "the log does not take an outcome that is on disk");
                }
            }
        }
        Ok(())
    }
}

impl Hold<'_> {
    /// What came of an effect. Until the log has it, it is on disk; when its epoch was fenced off it is
    /// late, and the run is another worker's.
    pub(super) async fn report(&self, report: &Report) -> Result<Running, Left> {
        let telling = self.tell_until_told(report);
        tokio::pin!(telling);
        let told = tokio::select! {
            told = &mut telling => told,
            () = tokio::time::sleep(PROMPT) => {
                self.spool.keep(report).await;
                telling.await
            }
        };
        match told {
            Ok(told) => {
                self.spool.forget(report).await;
                match told {
                    Told::InTime(state) => running_of(*state),
                    Told::Late(no) => Err(Left::Write(StreamError::Rejected(no))),
                }
            }
            Err(left) => {
                self.spool.keep(report).await;
                Err(left)
            }
        }
    }

    async fn tell_until_told(&self, report: &Report) -> Result<Told, Left> {
        let mut wait = FIRST_PAUSE;
        loop {
            match report.tell(self.targets).await {
                Err(left) if left.is_away() && !self.stopping.is_cancelled() => {
                    self.spool.keep(report).await;
                    self.wait_for_database(&mut wait).await;
                }
                told => return told,
            }
        }
    }
}
