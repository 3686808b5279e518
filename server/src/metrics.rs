//! Numbers for Prometheus.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nexplane_core::api::ProjectionView;
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
        Self { registry, answers, duration, position, lag, head, polls, refusals, live }
    }

    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let answer = Answer { method: method.to_owned(), route: route.to_owned(), status };
        self.answers.get_or_create(&answer).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// The OpenMetrics text, with the projections, the held polls and what was refused as they are now.
    pub fn text(
        &self,
        projections: &[ProjectionView],
        head: u64,
        polls: usize,
        refused: &[Count],
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
        self.head.set(i64::try_from(head).unwrap_or(i64::MAX));
        self.polls.set(i64::try_from(polls).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
