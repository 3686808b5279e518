//! Plans for many targets: reads them some at a time, and writes their steps into a manifest.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use nexplane_connectors::sdk::{ConnectorError, ErrorKind};
use nexplane_core::connection::Purpose;
use nexplane_core::id::{ChangeId, ConnectionId};
use nexplane_core::plan::{Check, Plan, PlanHeader, Step, TargetRef};

use super::manifest;
use super::planner::PlanError;
use super::targets::{OpenError, Opened, Targets};
use crate::stream::{self, Request};

/// Connections that are read at the same time.
const AT_ONCE: usize = 32;

/// Checks that failed and are told one by one; the others are counted.
const MAX_FAULTS: usize = 50;

/// Targets that could not be read and are named where others are counted.
const SOME: usize = 5;

/// A target and where it is.
pub(super) type Located = (ConnectionId, TargetRef);

/// What is read of a target.
pub(super) trait Reads: Sync {
    type Reading: Send;

    /// `index` is the target's place among all that are read.
    fn read(
        &self,
        opened: &Opened,
        index: usize,
        target: &TargetRef,
    ) -> impl Future<Output = Result<Self::Reading, ConnectorError>> + Send;
}

/// A reading, with whose it is.
pub(super) type Found<T> = (usize, Located, T);

/// Reads something of every target, in their order; one session for each connection. A target that cannot be
/// read has no reading and a fault.
pub(super) async fn read_each<R: Reads>(
    targets: &Targets,
    change: ChangeId,
    wanted: Vec<Located>,
    request: &Request,
    reads: &R,
) -> Result<(Vec<Found<R::Reading>>, Vec<Fault>), PlanError> {
    let mut groups: BTreeMap<ConnectionId, Vec<(usize, TargetRef)>> = BTreeMap::new();
    for (index, (connection, target)) in wanted.into_iter().enumerate() {
        groups.entry(connection).or_default().push((index, target));
    }
    let mut found = Vec::new();
    let mut faults = Vec::new();
    let mut groups = futures_util::stream::iter(groups)
        .map(|(connection, group)| async move {
            let request = request.also(&format!("read {connection}"));
            let opened = targets.open(connection, Purpose::Plan, Some(change), &request).await;
            let opened = match opened {
                Err(error) if error.is_away() => return Err(PlanError::from(error)),
                Err(error) => Err((kind_of(&error), error.to_string())),
                Ok(opened) => Ok(opened),
            };
            let mut readings = Vec::with_capacity(group.len());
            for (index, target) in group {
                let reading = match &opened {
                    Ok(opened) => {
                        let read = reads.read(opened, index, &target).await;
                        read.map_err(|error| (error.kind, error.message))
                    }
                    Err(why) => Err(why.clone()),
                };
                readings.push((index, (connection, target), reading));
            }
            Ok(readings)
        })
        .buffer_unordered(AT_ONCE);
    while let Some(readings) = groups.next().await {
        for (index, located, reading) in readings? {
            match reading {
                Ok(reading) => found.push((index, located, reading)),
                Err((kind, why)) => {
                    let detail = format!("{}: {why}", located.1.name);
                    faults.push(Fault { kind, detail });
                }
            }
        }
    }
    found.sort_by_key(|(index, ..)| *index);
    Ok((found, faults))
}

/// A target that could not be read.
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    /// Which, and why.
    pub(super) detail: String,
}

impl From<Fault> for Check {
    fn from(fault: Fault) -> Self {
        Self { name: "readable".to_owned(), ok: false, detail: fault.detail }
    }
}

fn kind_of(error: &OpenError) -> ErrorKind {
    match error {
        OpenError::Connector(error) => error.kind,
        OpenError::NoConnection | OpenError::NoConnector(_) | OpenError::NoAction(_) => {
            ErrorKind::NotFound
        }
        OpenError::Connection(_) | OpenError::Load(_) | OpenError::Vault(_) => {
            ErrorKind::Unreachable
        }
    }
}

/// Some targets that could not be read, and how many there are.
pub(super) struct Unread {
    count: usize,
    some: String,
}

/// Of these; `None` when there are none.
pub(super) fn named(faults: &[Fault]) -> Option<Unread> {
    let some: Vec<_> = faults.iter().take(SOME).map(|fault| fault.detail.as_str()).collect();
    (!faults.is_empty()).then(|| Unread { count: faults.len(), some: some.join("; ") })
}

/// The plan of these steps, each on a target of its own. Of the checks it has those that failed, and one
/// that sums up. What could not be read and has a step all the same is told there as well.
pub(super) async fn plan(
    targets: &Targets,
    header: PlanHeader,
    mut steps: Vec<Step>,
    checks: Vec<Check>,
    unread: Option<Unread>,
) -> Result<Plan, PlanError> {
    for (no, step) in (0..).zip(&mut steps) {
        step.no = no;
    }
    let passed = checks.iter().filter(|check| check.ok).count();
    let mut faults: Vec<_> = checks.into_iter().filter(|check| !check.ok).collect();
    let all = faults.len();
    faults.truncate(MAX_FAULTS);
    let detail = if let Some(Unread { count, some }) = unread {
        format!(
            "{} targets were read; {count} could not be, and are looked at again right before their turn: {some}",
            steps.len().saturating_sub(count)
        )
    } else if all == 0 {
        format!("{} targets were read; all of {passed} checks passed.", steps.len())
    } else {
        format!(
            "{all} checks failed on {} targets that were read. Put that right, or leave those targets out.",
            steps.len()
        )
    };
    faults.push(Check { name: "all targets".to_owned(), ok: all == 0, detail });
    if steps.is_empty() {
        // Nothing can be approved or executed of it: the checks say why.
        return Ok(Plan::new(header, steps, faults, stream::now()));
    }
    let manifest = manifest::write(&targets.log, header.change, &steps).await?;
    Ok(Plan::of_parts(header, manifest, &steps, faults, stream::now()))
}
