//! What surrounds every call to a target: time limit, retries, tracing span, removal of secrets, and errors
//! that say where they come from. Connectors and actions have none of that in their code.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, DiffLine, Field};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument;

use super::error::{Advice, Cause, ConnectorError, ErrorKind};
use super::retry;
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

    /// Without secrets. For what fails before the session is there that knows them ([`super::Connector::secrets`]).
    pub fn error(&self, mut error: ConnectorError) -> ConnectorError {
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
    /// The class of an effect; absent of calls that only read. Running out of time leaves an effect's outcome
    /// unknown.
    pub effect: Option<EffectClass>,
}

impl Call<'_> {
    /// Runs the call under the layer, and once only. The work is dropped when the time is over. A panic is an
    /// error like any other, so that whoever called can record it, and does not try the same again at once.
    pub async fn run<T>(
        self,
        redactor: &Redactor,
        work: impl Future<Output = Result<T, ConnectorError>> + Send,
    ) -> Result<T, ConnectorError> {
        let answer = self.attempt(self.limit, work).await;
        answer.map_err(|error| self.place(redactor.error(error)))
    }

    /// The same, and again when [`retry`] says so and a wait is not longer than the time that is left.
    pub async fn run_again<T, F>(
        self,
        redactor: &Redactor,
        mut work: impl FnMut() -> F + Send,
    ) -> Result<T, ConnectorError>
    where
        F: Future<Output = Result<T, ConnectorError>> + Send,
    {
        let end = Instant::now() + self.limit;
        let mut attempts = 0;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let error = match self.attempt(left, work()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.place(redactor.error(error)),
            };
            attempts += 1;
            let left = end.saturating_duration_since(Instant::now());
            match retry::pause(&error, self.effect, attempts) {
                Some(pause) if pause < left => {
                    tracing::info!(cause = %error, attempts, ?pause, "a call to a target is made again");
                    tokio::time::sleep(pause).await;
                }
                Some(_) | None => return Err(error),
            }
        }
    }

    async fn attempt<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ConnectorError>> + Send,
    ) -> Result<T, ConnectorError> {
        let span = tracing::info_span!(
            "connector call",
            connector.id = self.connector,
            action.id = self.action,
            target = self.target,
            act = self.act,
        );
        async {
            let started = Instant::now();
            let work = AssertUnwindSafe(work).catch_unwind();
            let answer = match tokio::time::timeout(limit, work).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(self.panicked()),
                Err(_) => Err(self.out_of_time()),
            };
            let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let failed = answer.as_ref().err().map(|error| error.kind.as_str());
            tracing::debug!(duration_ms, failed, "connector call ended");
            answer
        }
        .instrument(span)
        .await
    }

    /// Fills in where an error happened.
    pub fn place(&self, mut error: ConnectorError) -> ConnectorError {
        self.connector.clone_into(&mut error.connector);
        error.action = error.action.or_else(|| self.action.map(str::to_owned));
        error.target = error.target.or_else(|| self.target.map(str::to_owned));
        error
    }

    /// Without what was said in panic: it may quote a secret.
    fn panicked(&self) -> ConnectorError {
        let advice = if self.effect.is_some() { Advice::OutcomeUnknown } else { Advice::Never };
        let message =
            "the connector itself failed (a panic): that is a defect of Nexplane, please report it";
        ConnectorError::new(ErrorKind::Unexpected, advice, message)
    }

    fn out_of_time(&self) -> ConnectorError {
        let advice = if self.effect.is_some() { Advice::OutcomeUnknown } else { Advice::Later };
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

    fn call(limit_s: u64, effect: Option<EffectClass>) -> Call<'static> {
        Call {
            connector: "c",
            action: Some("c.a"),
            target: Some("t"),
            act: "execute",
            limit: Duration::from_secs(limit_s),
            effect,
        }
    }

    /// How often a call is made that fails so, `retry_after` in seconds, and how long that takes.
    async fn attempts(call: Call<'_>, kind: ErrorKind, advice: Advice, wait: u16) -> (u32, u64) {
        let (mut made, begun) = (0, Instant::now());
        let work = || {
            made += 1;
            let mut error = ConnectorError::new(kind, advice, "said hunter22");
            error.retry_after_s = Some(wait);
            std::future::ready(Err::<(), _>(error))
        };
        let error = call.run_again(&redactor(), work).await.expect_err("it always fails");
        assert_eq!((error.kind, error.advice), (kind, advice));
        assert_eq!(error.to_string(), "c.a on t: said [redacted]");
        (made, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_busy_is_asked_again_for_as_long_as_there_is_time() {
        let verifiable = Some(EffectClass::Verifiable);
        for effect in [None, verifiable] {
            let busy =
                |limit| attempts(call(limit, effect), ErrorKind::RateLimited, Advice::Later, 7);
            assert_eq!(busy(30).await, (4, 21));
            assert_eq!(busy(10).await, (2, 7));
            assert_eq!(busy(5).await, (1, 0));
        }
        let unknown =
            attempts(call(30, verifiable), ErrorKind::Timeout, Advice::OutcomeUnknown, 1).await;
        assert_eq!(unknown, (1, 0));
        let keyed = call(30, Some(EffectClass::Keyed));
        let unknown = attempts(keyed, ErrorKind::Timeout, Advice::OutcomeUnknown, 1).await;
        assert_eq!(unknown, (4, 3));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_unknown_only_for_effects() {
        let class = EffectClass::Keyed;
        for (effect, advice) in [(Some(class), Advice::OutcomeUnknown), (None, Advice::Never)] {
            let work = async { panic!("hunter22") };
            let error = call(1, effect).run::<()>(&redactor(), work).await.expect_err("a panic");
            assert_eq!((error.kind, error.advice), (ErrorKind::Unexpected, advice));
            assert!(!format!("{error:?}").contains("hunter22"), "{error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_time_is_unknown_only_for_effects() {
        let class = EffectClass::Verifiable;
        for (effect, advice) in [(Some(class), Advice::OutcomeUnknown), (None, Advice::Later)] {
            let error = call(1, effect)
                .run::<()>(&redactor(), std::future::pending())
                .await
                .expect_err("must end");
            assert_eq!((error.kind, error.advice), (ErrorKind::Timeout, advice));
            assert_eq!(error.to_string(), "c.a on t: no answer within 1000 ms");
        }
    }
}
