//! An action, from inspection to undo: on its own, with somebody else at work, and without rights.

use std::fmt::Debug;

use nexplane_connectors::sdk::{
    Advice, AnyAction, AnySession, ErrorKind, Inspection, Produced, Snapshot, StepContext,
};
use nexplane_core::catalog::Reversibility;
use nexplane_core::plan::Check;
use nexplane_peers::spelling::spellings;
use serde_json::Value;

use super::{Account, Case, Login, Peer};
use crate::fixture::{action, context, open, step};

pub(super) async fn session_of<P: Peer>(credentials: Value) -> Box<dyn AnySession> {
    open(P::CONNECTOR, credentials, &context()).await.expect("the account can connect")
}

/// One action, its case, a session, and everything it ever said.
pub(super) struct Trial {
    pub action: &'static dyn AnyAction,
    pub case: Case,
    pub login: Login,
    pub session: Box<dyn AnySession>,
    pub said: String,
}

impl Trial {
    /// A case of the action for this account, and its session.
    pub async fn of<P: Peer>(peer: &P, id: &str, account: Account) -> Self {
        let login = peer.login(account).await;
        let case = peer.prepare(id, &login).await;
        let session = session_of::<P>(login.credentials.clone()).await;
        Self { action: action(id), case, login, session, said: String::new() }
    }

    pub fn is_reversible(&self) -> bool {
        self.action.spec().reversibility == Reversibility::Reversible
    }

    pub fn heard(&mut self, what: impl Debug) {
        self.said.push_str(&format!("{what:?}\n"));
    }

    pub async fn inspect(&mut self) -> Inspection {
        let (target, parameters) = (&self.case.target, &self.case.parameters);
        let inspection =
            self.action.inspect(&*self.session, target, parameters).await.expect("inspect");
        self.heard(&inspection);
        self.said.push_str(&serde_json::to_string(&inspection.diff).unwrap());
        inspection
    }

    pub async fn fingerprint(&mut self) -> String {
        let (target, parameters) = (&self.case.target, &self.case.parameters);
        let read = self.action.read(&*self.session, target, parameters, None).await.expect("read");
        self.heard(&read);
        read.fingerprint
    }

    pub async fn satisfied(
        &mut self,
        before: &Snapshot,
        outcome: Option<&Value>,
    ) -> (bool, String) {
        let (target, parameters) = (&self.case.target, &self.case.parameters);
        let answer = self
            .action
            .verify(&*self.session, target, parameters, before, outcome)
            .await
            .expect("verify");
        self.heard(&answer);
        let produced = names(&answer.produced);
        assert_eq!(
            produced.is_empty(),
            !answer.satisfied || self.action.spec().produces.is_empty()
        );
        (answer.satisfied, answer.fingerprint)
    }

    pub fn step(&self, before: &Snapshot) -> StepContext {
        step(self.action, &self.case.target, &self.case.parameters, &before.fingerprint)
    }
}

fn names(produced: &[Produced]) -> Vec<&str> {
    produced.iter().map(|produced| produced.name.as_str()).collect()
}

pub(super) fn failed(checks: &[Check]) -> Vec<&Check> {
    checks.iter().filter(|check| !check.ok).collect()
}

/// Every secret text in a sealed before-state.
fn sealed_secrets(before: &Snapshot) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        if let Some(Value::String(secret)) = value.get("$secret") {
            found.push(secret.clone());
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| walk(value, found)),
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::from_slice(before.sealed.expose()).unwrap(), &mut found);
    found
}

pub async fn trial<P: Peer>(id: &str, account: Account) {
    let peer = P::start().await;
    let mut trial = Trial::of(&peer, id, account).await;
    let initially = peer.witness().await;

    // Inspecting has no effect, and sees the same thing twice.
    let first = trial.inspect().await;
    assert!(first.is_ready(), "{:#?}", failed(&first.checks));
    assert!(!first.diff.is_empty() && !first.summary.is_empty() && !first.rollback.is_empty());
    let inspection = trial.inspect().await;
    assert_eq!(inspection.before.fingerprint, first.before.fingerprint);
    assert_eq!(inspection.before.fields, first.before.fields);
    assert_eq!(trial.fingerprint().await, inspection.before.fingerprint);
    assert_eq!(peer.witness().await, initially, "inspect had an effect");

    // Not satisfied before it was done.
    let before = inspection.before;
    let (satisfied, _) = trial.satisfied(&before, None).await;
    assert!(!satisfied, "verify is satisfied before execute");

    // Done, and verified from the target alone, as after a crash.
    let cx = trial.step(&before);
    let executed = trial.action.execute(&*trial.session, &cx, &before).await.expect("execute");
    trial.heard(&executed);
    trial.said.push_str(&executed.outcome.to_string());
    assert!(executed.changed);
    assert_eq!(names(&executed.produced), trial.action.spec().produces);
    let afterwards = peer.witness().await;
    assert_ne!(afterwards, initially);
    let (satisfied, after) = trial.satisfied(&before, None).await;
    assert!(satisfied, "verify does not see the effect");
    assert_ne!(after, before.fingerprint);
    assert_eq!(trial.satisfied(&before, Some(&executed.outcome)).await, (true, after.clone()));
    assert_eq!(trial.fingerprint().await, after);

    // Twice is once.
    let again = trial.action.execute(&*trial.session, &cx, &before).await.expect("execute again");
    assert!(!again.changed);
    let values = |produced: &[Produced]| -> Vec<_> {
        produced.iter().map(|produced| produced.value.expose().to_owned()).collect()
    };
    assert_eq!(values(&again.produced), values(&executed.produced));
    assert_eq!(peer.witness().await, afterwards, "executing twice is not executing once");

    if !trial.is_reversible() {
        let refused = trial.action.rollback(&*trial.session, &cx, &before, None).await;
        assert_eq!(refused.expect_err("one way").kind, ErrorKind::Invalid);
        assert_eq!(peer.witness().await, afterwards, "a refused rollback had an effect");
        return nothing_secret_was_said(&peer, &trial, &before, values(&executed.produced));
    }

    // Back, exactly, and twice is once.
    let outcome = Some(&executed.outcome);
    let undone =
        trial.action.rollback(&*trial.session, &cx, &before, outcome).await.expect("rollback");
    trial.heard(&undone);
    assert!(undone.changed);
    assert_eq!(peer.witness().await, initially, "rollback did not restore the state");
    assert_eq!(trial.fingerprint().await, before.fingerprint);
    let (satisfied, _) = trial.satisfied(&before, outcome.filter(|_| !P::SHOWS_LATE)).await;
    assert!(!satisfied, "verify is satisfied after rollback");
    let again =
        trial.action.rollback(&*trial.session, &cx, &before, None).await.expect("rollback again");
    assert!(!again.changed);
    assert_eq!(peer.witness().await, initially, "rolling back twice is not rolling back once");

    // And once more, so nothing was left behind that stands in the way.
    let once_more = trial.inspect().await;
    assert!(once_more.is_ready(), "{:#?}", failed(&once_more.checks));
    let cx = trial.step(&once_more.before);
    trial.action.execute(&*trial.session, &cx, &once_more.before).await.expect("execute once more");

    nothing_secret_was_said(&peer, &trial, &before, values(&executed.produced));
}

fn nothing_secret_was_said<P: Peer>(
    peer: &P,
    trial: &Trial,
    before: &Snapshot,
    produced: Vec<String>,
) {
    let secrets = sealed_secrets(before).into_iter().chain(produced).chain(peer.secrets());
    // Shorter ones stand for themselves in a test, and would be found in any sentence.
    let secrets = secrets.filter(|secret| secret.len() >= 8);
    for spelling in secrets.flat_map(|secret| spellings(&secret)) {
        assert!(!trial.said.contains(&spelling), "{spelling} was said: {}", trial.said);
    }
}

/// Somebody else moves the target: nothing is overwritten, neither forwards nor backwards.
pub async fn drift<P: Peer>(id: &str) {
    let peer = P::start().await;
    let mut trial = Trial::of(&peer, id, Account::Full).await;
    let before = trial.inspect().await.before;
    let cx = trial.step(&before);

    peer.disturb(&trial.case).await;
    let disturbed = peer.witness().await;
    assert_ne!(
        trial.fingerprint().await,
        before.fingerprint,
        "the drift is not in the fingerprint"
    );
    match trial.action.execute(&*trial.session, &cx, &before).await {
        Err(error) => {
            assert_eq!((error.kind, error.advice), (ErrorKind::Conflict, Advice::Never), "{error}");
            assert_eq!(error.action.as_deref(), Some(id));
            assert_eq!(error.target.as_deref(), Some(&*trial.case.target.external_key));
        }
        // Somebody else did just what was wanted (locking, unlocking): there is nothing left to do.
        Ok(executed) => assert!(!executed.changed),
    }
    assert_eq!(peer.witness().await, disturbed, "a refused effect left a trace");

    if !trial.is_reversible() {
        return;
    }
    // The rollback of a state that is neither before nor after is refused as well. Where the
    // disturbance is the effect itself, going back is right.
    let (satisfied, _) = trial.satisfied(&before, None).await;
    match trial.action.rollback(&*trial.session, &cx, &before, None).await {
        Err(error) => {
            assert!(!satisfied);
            assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
            assert_eq!(peer.witness().await, disturbed, "a refused rollback left a trace");
        }
        Ok(_) => assert!(satisfied, "rolled back from a state that is not ours"),
    }
}

/// An account without rights is told before, and changes nothing if it tries all the same; a target
/// that is gone, the connection's own role and the server's own roles are refused.
pub async fn rights<P: Peer>(id: &str) {
    let peer = P::start().await;
    let mut trial = Trial::of(&peer, id, Account::Full).await;
    let full = std::mem::replace(
        &mut trial.session,
        session_of::<P>(peer.login(Account::Weak).await.credentials).await,
    );
    let initially = peer.witness().await;
    let inspection = trial.inspect().await;
    let missing = failed(&inspection.checks);
    assert!(!missing.is_empty());
    assert!(
        missing.iter().any(|check| check.detail.contains(P::WHAT_TO_DO)),
        "nothing says what to do: {missing:#?}"
    );
    let cx = trial.step(&inspection.before);
    let error = trial
        .action
        .execute(&*trial.session, &cx, &inspection.before)
        .await
        .expect_err("an account without rights had an effect");
    assert!(!error.is_outcome_unknown(), "{error:?}");
    assert!(
        matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Conflict | ErrorKind::Invalid),
        "{error:?}"
    );
    assert_eq!(peer.witness().await, initially);

    // Targets that must not be.
    trial.session = full;
    assert!(!trial.case.never.is_empty(), "no target that is refused");
    for target in &trial.case.never {
        let (action, parameters) = (trial.action, &trial.case.parameters);
        let inspection =
            action.inspect(&*trial.session, target, parameters).await.expect("inspect");
        assert!(!inspection.is_ready(), "{} is accepted", target.external_key);
    }

    // A target of another kind is a mistake of the caller, not a check.
    let wrong = crate::fixture::target("host", "role/x", "x");
    let (action, parameters) = (trial.action, &trial.case.parameters);
    let error = action.inspect(&*trial.session, &wrong, parameters).await.expect_err("wrong kind");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(peer.witness().await, initially);
}
