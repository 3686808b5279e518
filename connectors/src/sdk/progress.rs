//! How far an effect is, while it lasts.
//!
//! Said to whoever looks on at this moment, and to nobody else: it is neither kept nor proof of anything. What
//! an effect did says its outcome; whether it is there, the target.

use std::fmt;
use std::sync::Arc;

/// Part of an effect that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub done: u64,
    /// What `done` will be in the end, at most; absent when nobody knows.
    pub most: Option<u64>,
    /// What is counted, in the plural, such as `keys`. A word of ours, so that nothing of a target can be in it.
    pub unit: &'static str,
}

/// Takes reports of an effect; as many as one likes, for only the newest in a while is shown.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Done) + Send + Sync>>);

impl Progress {
    pub fn new(hear: impl Fn(Done) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    /// Nobody has to hear it: it never waits and never fails.
    pub fn report(&self, done: Done) {
        if let Some(hear) = &self.0 {
            hear(done);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(heard)" } else { "Progress(unheard)" })
    }
}
