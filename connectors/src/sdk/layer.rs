//! What surrounds every call to a target: time limit, tracing span, removal of secrets, and errors
//! that say where they come from. Connectors and actions have none of that in their code.

use std::future::Future;
use std::time::{Duration, Instant};

use nexplane_core::plan::{Check, DiffLine, Field};
use serde_json::Value;
use tracing::Instrument;

use super::error::{Advice, Cause, ConnectorError, ErrorKind};
use super::secret::{SecretText, sealed};

/// Shorter secrets are not searched for: they would blot out ordinary words. Nothing that a connector
/// makes up is shorter, and NIST SP 800-63B (revision 3) §5.1.1.2 asks for at least 8 characters.
const SHORTEST: usize = 8;
const REDACTED: &str = "[redacted]";

/// Removes known secrets from texts.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    secrets: Vec<SecretText>,
}

impl Redactor {
    pub fn new(secrets: Vec<SecretText>) -> Self {
        let mut redactor = Self::default();
        redactor.add(secrets);
        redactor
    }

    fn add(&mut self, secrets: Vec<SecretText>) {
        self.secrets.extend(secrets.into_iter().filter(|s| s.expose().len() >= SHORTEST));
        // The longest first, so that a secret inside another does not leave the rest behind.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    }

    /// Also the secrets of a sealed before-state.
    #[must_use]
    pub fn with_sealed(&self, before: &Value) -> Self {
        let mut found = Vec::new();
        collect_sealed(before, &mut found);
        let mut redactor = self.clone();
        redactor.add(found);
        redactor
    }

    pub fn text(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.expose()) {
                text.replace(secret.expose(), REDACTED)
            } else {
                text
            }
        })
    }

    pub fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => {
                map.into_iter().map(|(key, item)| (self.text(&key), self.value(item))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    pub fn fields(&self, fields: Vec<Field>) -> Vec<Field> {
        fields.into_iter().map(|field| Field { value: self.value(field.value), ..field }).collect()
    }

    pub fn checks(&self, checks: Vec<Check>) -> Vec<Check> {
        checks
            .into_iter()
            .map(|check| Check { detail: self.text(&check.detail), ..check })
            .collect()
    }

    pub fn diff(&self, diff: Vec<DiffLine>) -> Vec<DiffLine> {
        diff.into_iter()
            .map(|line| DiffLine {
                before: self.value(line.before),
                after: self.value(line.after),
                ..line
            })
            .collect()
    }

    fn error(&self, mut error: ConnectorError) -> ConnectorError {
        error.message = self.text(&error.message);
        error.source = error.source.map(|source| {
            let clean = |text: &str| self.text(text);
            Box::new(Cause::copy(&*source, &clean)) as _
        });
        error
    }
}

fn collect_sealed(value: &Value, found: &mut Vec<SecretText>) {
    match value {
        Value::Object(map) => match map.get(sealed::KEY) {
            Some(Value::String(secret)) => found.push(SecretText::new(secret.clone())),
            _ => map.values().for_each(|item| collect_sealed(item, found)),
        },
        Value::Array(items) => items.iter().for_each(|item| collect_sealed(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// One call to a target.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Connector id.
    pub connector: &'a str,
    /// Action id.
    pub action: Option<&'a str>,
    /// External key of the target.
    pub target: Option<&'a str>,
    /// Name of the act: `inspect`, `execute` …
    pub act: &'static str,
    pub limit: Duration,
    /// Whether it changes the target, so that running out of time leaves the outcome unknown.
    pub effect: bool,
}

impl Call<'_> {
    /// Runs the call under the layer. The work is dropped when the time is over.
    pub async fn run<T>(
        self,
        redactor: &Redactor,
        work: impl Future<Output = Result<T, ConnectorError>> + Send,
    ) -> Result<T, ConnectorError> {
        let span = tracing::info_span!(
            "connector call",
            connector.id = self.connector,
            action.id = self.action,
            target = self.target,
            act = self.act,
        );
        let answer = async {
            let started = Instant::now();
            let answer = match tokio::time::timeout(self.limit, work).await {
                Ok(answer) => answer,
                Err(_) => Err(self.out_of_time()),
            };
            let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let failed = answer.as_ref().err().map(|error| error.kind.as_str());
            tracing::debug!(duration_ms, failed, "connector call ended");
            answer
        }
        .instrument(span)
        .await;
        answer.map_err(|error| self.place(redactor.error(error)))
    }

    /// Fills in where an error happened.
    pub fn place(&self, mut error: ConnectorError) -> ConnectorError {
        self.connector.clone_into(&mut error.connector);
        error.action = error.action.or_else(|| self.action.map(str::to_owned));
        error.target = error.target.or_else(|| self.target.map(str::to_owned));
        error
    }

    fn out_of_time(&self) -> ConnectorError {
        let advice = if self.effect { Advice::OutcomeUnknown } else { Advice::Later };
        let message = format!("no answer within {} ms", self.limit.as_millis());
        ConnectorError::new(ErrorKind::Timeout, advice, message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(vec![
            SecretText::new("hunter22".to_owned()),
            SecretText::new("hunter22-longer".to_owned()),
            SecretText::new("short".to_owned()),
        ])
    }

    #[test]
    fn secrets_leave_texts_values_and_causes() {
        let error = ConnectorError::invalid("bad hunter22-longer")
            .because(std::io::Error::other("said hunter22 twice: hunter22"));
        let error = redactor().error(error);
        let text = format!("{error} {error:?} {}", std::error::Error::source(&error).unwrap());
        assert!(!text.contains("hunter22"), "{text}");
        assert_eq!(
            redactor().value(json!({ "a": ["a short hunter22"] })),
            json!({ "a": ["a short [redacted]"] })
        );
    }

    #[test]
    fn sealed_secrets_are_found_by_themselves() {
        let before = json!({ "state": [{ "old": { "$secret": "verifier" } }], "prepared": null });
        let redactor = redactor().with_sealed(&before);
        assert_eq!(redactor.text("a verifier of hunter22"), "a [redacted] of [redacted]");
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_time_is_unknown_only_for_effects() {
        for (effect, advice) in [(true, Advice::OutcomeUnknown), (false, Advice::Later)] {
            let call = Call {
                connector: "c",
                action: Some("c.a"),
                target: Some("t"),
                act: "execute",
                limit: Duration::from_secs(1),
                effect,
            };
            let error =
                call.run::<()>(&redactor(), std::future::pending()).await.expect_err("must end");
            assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, advice));
            assert_eq!(error.to_string(), "c.a on t: no answer within 1000 ms");
        }
    }
}
