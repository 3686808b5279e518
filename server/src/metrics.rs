//! Numbers for Prometheus.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nexplane_core::api::{OperationsView, ProjectionView, QueueKind};
use nexplane_core::time::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::gateway::refusal::Count;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answer {
    method: String,
    /// The route's pattern, never the path itself: ids would make a series each.
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    projection: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct In {
    queue: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refusal {
    /// `caller`, `order` or `distrusted_order`.
    what: &'static str,
    cause: &'static str,
}

/// All of them, with their registry.
pub struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    duration: Histogram,
    position: Family<Of, Gauge>,
    lag: Family<Of, Gauge>,
    head: Gauge,
    polls: Gauge,
    refusals: Family<Refusal, Counter>,
    waiting: Family<In, Gauge>,
    oldest: Family<In, Gauge>,
    stalled: Gauge,
    leases: Gauge,
    unsealed: Gauge,
    unsealed_seconds: Gauge,
    agents_behind: Gauge,
    failed_discoveries: Gauge,
    /// Browsers and programs on the live WebSocket.
    pub live: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("nexplane");
        let answers = Family::<Answer, Counter>::default();
        // 1 ms to 16 s.
        let duration = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let (position, lag) = (Family::<Of, Gauge>::default(), Family::<Of, Gauge>::default());
        let (head, polls, live) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("http_requests", "Answers by route and status", answers.clone());
        registry.register("http_duration_seconds", "Time to an answer", duration.clone());
        registry.register("projection_position", "Next position of a projection", position.clone());
        registry.register("projection_lag_events", "Events it has not seen", lag.clone());
        registry.register("log_next_position", "Events in the log", head.clone());
        registry.register("agent_polls", "Polls of agents that are held", polls.clone());
        let refusals = Family::<Refusal, Counter>::default();
        let help = "What the agent gateway and agents refused";
        registry.register("refusals", help, refusals.clone());
        registry.register("live_connections", "Open live WebSockets", live.clone());
        let (waiting, oldest) = (Family::<In, Gauge>::default(), Family::<In, Gauge>::default());
        registry.register("queue_waiting", "What waits in a queue", waiting.clone());
        let help = "For how long what has waited longest, or not moved for longest, has";
        registry.register("queue_oldest_seconds", help, oldest.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let stalled = gauge("stalled_work", "What has not moved for longer than it should");
        let leases = gauge("run_leases", "Runs that somebody works on");
        let unsealed = gauge("log_unsealed_events", "Events after the newest checkpoint");
        let help = "For how long the first of them has not been sealed";
        let unsealed_seconds = gauge("log_unsealed_seconds", help);
        let agents_behind = gauge("agents_behind", "Hosts whose agent is older than this server");
        let help = "Connections whose last discovery failed";
        let failed_discoveries = gauge("discoveries_failed", help);
        Self {
            registry,
            answers,
            duration,
            position,
            lag,
            head,
            polls,
            refusals,
            waiting,
            oldest,
            stalled,
            leases,
            unsealed,
            unsealed_seconds,
            agents_behind,
            failed_discoveries,
            live,
        }
    }

    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let answer = Answer { method: method.to_owned(), route: route.to_owned(), status };
        self.answers.get_or_create(&answer).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// The OpenMetrics text, with the projections, what was refused and how the installation is now.
    pub fn text(
        &self,
        projections: &[ProjectionView],
        refused: &[Count],
        operations: &OperationsView,
    ) -> String {
        for &(what, cause, count) in refused {
            let counter = self.refusals.get_or_create(&Refusal { what, cause });
            counter.inner().store(count, Ordering::Relaxed);
        }
        for row in projections {
            let of = Of { projection: row.name.clone() };
            self.position.get_or_create(&of).set(i64::try_from(row.position).unwrap_or(i64::MAX));
            self.lag.get_or_create(&of).set(i64::try_from(row.lag).unwrap_or(i64::MAX));
        }
        self.count(operations);
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The numbers of `GET /operations`.
    fn count(&self, view: &OperationsView) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let age =
            |since: Option<Timestamp>| since.map_or(0, |since| view.at.seconds_since(since).max(0));
        for kind in QueueKind::ALL {
            let of = In { queue: kind.as_str() };
            let queue = view.queues.iter().find(|queue| queue.kind == kind);
            self.waiting.get_or_create(&of).set(queue.map_or(0, |queue| number(queue.waiting)));
            self.oldest.get_or_create(&of).set(age(queue.and_then(|queue| queue.oldest)));
        }
        self.head.set(number(view.seal.events));
        self.polls.set(number(view.agent_polls));
        self.stalled.set(number(view.stalled.len() as u64));
        self.leases.set(number(view.leases_in_all));
        self.unsealed.set(number(view.seal.unsealed));
        self.unsealed_seconds.set(age(view.seal.unsealed_since));
        self.agents_behind.set(number(view.agents.behind));
        self.failed_discoveries.set(number(view.discoveries_in_all));
    }
}
