//! When the time of a call is over that takes several commands.

use std::time::{Duration, Instant};

use crate::sdk::{Advice, ConnectorError, ErrorKind, StepContext};

/// With less time than that nothing is begun.
const ENOUGH: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub struct End(Instant);

impl End {
    /// Of a call that begins now.
    pub fn of(cx: &StepContext) -> Self {
        Self(Instant::now() + cx.deadline)
    }

    /// What each command may take.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Before the first command with an effect: there has to be time to see what becomes of it.
    pub fn check(self) -> Result<(), ConnectorError> {
        let left = self.left();
        if left >= ENOUGH {
            return Ok(());
        }
        let (left, enough) = (left.as_secs(), ENOUGH.as_secs());
        let message = format!(
            "{left} s are left of the time of the step, and {enough} s are the least to begin with; nothing was \
             changed: try again when the host and the line to it are faster"
        );
        Err(ConnectorError::new(ErrorKind::Timeout, Advice::Later, message))
    }
}
