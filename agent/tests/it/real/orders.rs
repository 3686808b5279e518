//! Orders for this host, one after the other, each to an agent that was just started.

use std::path::Path;
use std::sync::Arc;

use nexplane_agent::host::LinuxHost;
use nexplane_core::id::JobId;
use nexplane_core::job::{Job, JobResult, Order};
use nexplane_core::plan::{Check, DiffLine};
use serde_json::Value;

use crate::rig::Rig;

pub struct Orders {
    pub rig: Rig,
    jobs: u64,
}

impl Orders {
    pub fn new() -> Self {
        let host = LinuxHost::open(Path::new("/"), &[]).unwrap();
        Self { rig: Rig::new(Arc::new(host)), jobs: 0 }
    }

    pub fn job(&mut self, order: Order) -> Job {
        self.jobs += 1;
        self.rig.job(self.jobs, order)
    }

    /// Plans and does it.
    pub fn apply(&mut self, operation: &str, parameters: &Value) -> (JobId, JobResult) {
        let order = self.rig.apply_order(operation, parameters);
        let job = self.job(order);
        (job.id, self.rig.run(&mut self.rig.start(), &job))
    }

    pub fn done(&mut self, operation: &str, parameters: &Value) -> JobId {
        let (id, result) = self.apply(operation, parameters);
        assert!(matches!(result, JobResult::Applied { changed: true, .. }), "{result:?}");
        id
    }

    pub fn undo(&mut self, operation: &str, parameters: &Value, undoes: JobId) -> JobResult {
        let order = self.rig.revert_order(operation, parameters, undoes);
        let job = self.job(order);
        self.rig.run(&mut self.rig.start(), &job)
    }

    /// What a person would see before it is approved.
    pub fn plan(&mut self, operation: &str, parameters: &Value) -> (Vec<Check>, Vec<DiffLine>) {
        let target = "web-1".to_owned();
        let (operation, parameters) = (operation.to_owned(), parameters.clone());
        let job = self.job(Order::Inspect { operation, target, parameters });
        match self.rig.run(&mut self.rig.start(), &job) {
            JobResult::Inspected { checks, diff, .. } => (checks, diff),
            other => panic!("{other:?}"),
        }
    }
}
