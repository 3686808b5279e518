//! What surrounds every call to a target: time limit, tracing span, removal of secrets, and errors
//! that say where they come from. Connectors and actions have none of that in their code.

use std::future::Future;
use std::time::{Duration, Instant};

use nexplane_core::plan::{Check, DiffLine, Field};
use serde_json::Value;
use tracing::Instrument;

use super::error::{Advice, Cause, ConnectorError, ErrorKind};
use super::secret::{SecretText, sealed};
use super::spelling::spellings;

/// Shorter secrets are not searched for: they would blot out ordinary words. Nothing that a connector
/// makes up is shorter, and NIST SP 800-63B (revision 3) §5.1.1.2 asks for at least 8 characters.
const SHORTEST: usize = 8;
const REDACTED: &str = "[redacted]";

/// Characters of one text that a target answers, at most, and bytes of all that it answers at once: the rest
/// is not shown. A record of the log has room for four times as much.
const LONGEST: usize = 16 * 1024;
const MOST: usize = 128 * 1024;

/// Removes known secrets from texts, however they are spelled.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// All spellings of all secrets.
    secrets: Vec<SecretText>,
}

impl Redactor {
    pub fn new(secrets: Vec<SecretText>) -> Self {
        Self::default().with(secrets)
    }

    /// Also these secrets.
    #[must_use]
    pub fn with(&self, secrets: impl IntoIterator<Item = SecretText>) -> Self {
        let mut all = self.secrets.clone();
        let long = secrets.into_iter().filter(|secret| secret.expose().len() >= SHORTEST);
        all.extend(long.flat_map(|secret| spellings(&secret)));
        // The longest first, so that a secret inside another does not leave the rest behind.
        all.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self { secrets: all }
    }

    /// Also the secrets of a sealed before-state.
    #[must_use]
    pub fn with_sealed(&self, before: &Value) -> Self {
        let mut found = Vec::new();
        collect_sealed(before, &mut found);
        self.with(found)
    }

    /// Without secrets, and as it can be stored and shown.
    pub fn text(&self, text: &str) -> String {
        let clean = self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.expose()) {
                text.replace(secret.expose(), REDACTED)
            } else {
                text
            }
        });
        plain(clean)
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
        bounded(fields.into_iter().map(|field| Field {
            name: self.text(&field.name),
            value: self.value(field.value),
            ..field
        }))
    }

    /// All of them: one that is left out would count as passed.
    pub fn checks(&self, checks: Vec<Check>) -> Vec<Check> {
        let mut left = MOST;
        let checks = checks.into_iter().map(|Check { name, ok, detail }| {
            let (name, detail) = (self.text(&name), self.text(&detail));
            let size = name.len() + detail.len();
            let detail = if size > left { String::new() } else { detail };
            left = left.saturating_sub(size);
            Check { name: name.chars().take(200).collect(), ok, detail }
        });
        checks.collect()
    }

    pub fn diff(&self, diff: Vec<DiffLine>) -> Vec<DiffLine> {
        bounded(diff.into_iter().map(|line| DiffLine {
            target: self.text(&line.target),
            field: self.text(&line.field),
            before: self.value(line.before),
            after: self.value(line.after),
        }))
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

/// The first of them, as many as have room.
fn bounded<T: serde::Serialize>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut left = MOST;
    let fits = |item: T| {
        let size = serde_json::to_vec(&item).map_or(MOST + 1, |text| text.len());
        left = left.checked_sub(size)?;
        Some(item)
    };
    items.map_while(fits).collect()
}

/// No control characters but line breaks and tabs (no record can have NUL), and not endless.
fn plain(text: String) -> String {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if text.len() <= LONGEST && !text.contains(is_odd) {
        return text;
    }
    let mut rest = text.chars();
    let shown = rest.by_ref().take(LONGEST);
    let mut plain: String =
        shown.map(|c| if is_odd(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if rest.next().is_some() {
        plain.push('…');
    }
    plain
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
    fn secrets_leave_in_another_spelling_too() {
        let redactor = Redactor::new(vec![SecretText::new("a\"b/c-correct".to_owned())]);
        let said = r#"{"m":"a\"b/c-correct"} ?p=a%22b%2Fc-correct"#;
        assert_eq!(redactor.text(said), r#"{"m":"[redacted]"} ?p=[redacted]"#);
        // base64 of `user:a"b/c-correct`.
        let said = redactor.text("Basic dXNlcjphImIvYy1jb3JyZWN0");
        assert!(said.starts_with("Basic dXNlcj") && said.contains(REDACTED), "{said}");
    }

    /// Whatever a target says, a record can have it.
    #[test]
    fn what_no_record_can_have_is_not_passed_on() {
        let redactor = redactor();
        assert_eq!(redactor.text("a\0b\u{1b}[31m\tc\n"), "a\u{fffd}b\u{fffd}[31m\tc\n");
        let error = redactor.error(ConnectorError::invalid("no\0pe"));
        assert_eq!(error.message, "no\u{fffd}pe");
        assert_eq!(redactor.value(json!({ "k\0": ["\0"] })), json!({ "k\u{fffd}": ["\u{fffd}"] }));
        let endless = redactor.text(&"é".repeat(1_000_000));
        assert_eq!(endless.chars().count(), LONGEST + 1);
        assert_eq!(redactor.text(&"x".repeat(LONGEST)), "x".repeat(LONGEST));

        let check = |no: usize| Check {
            name: format!("\0{no}"),
            ok: no != 99,
            detail: "\0".repeat(10_000),
        };
        let checks = redactor.checks((0..100).map(check).collect());
        assert_eq!((checks.len(), checks.iter().all(|check| check.ok)), (100, false));
        let field = |no: usize| Field::new(format!("\0{no}"), "y\0".repeat(5000));
        let fields = redactor.fields((0..100).map(field).collect());
        let line = |no: usize| DiffLine {
            target: "\0".to_owned(),
            field: no.to_string(),
            before: json!(["\0".repeat(5000)]),
            after: Value::Null,
        };
        let diff = redactor.diff((0..100).map(line).collect());
        assert!(!fields.is_empty() && !diff.is_empty());
        for text in [json!(checks), json!(fields), json!(diff)].map(|value| value.to_string()) {
            assert!(!text.contains("\\u0000") && text.len() < 2 * MOST, "{}", text.len());
        }
        let few = redactor.fields(vec![Field::new("motd", "hello")]);
        assert_eq!(few, [Field::new("motd", "hello")]);
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
