//! What the connection's user may do: asked of the server, command by command, without running any.
//! <https://redis.io/docs/latest/commands/acl-dryrun/>

use ::redis::Value;
use nexplane_core::plan::Check;

use super::connection::{command, done};
use super::error::{is_forbidden, of_server};
use super::session::Session;
use crate::sdk::{ConnectorError, check};

/// A right: the rule that gives it, and a command that needs it.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    pub rule: &'static str,
    command: &'static [&'static str],
}

const fn right(rule: &'static str, command: &'static [&'static str]) -> Right {
    Right { rule, command }
}

/// Without it nothing else can be asked.
const ASK: Right = right("+acl|dryrun", &["ACL", "DRYRUN", "default", "PING"]);
pub const GET_USER: Right = right("+acl|getuser", &["ACL", "GETUSER", "x"]);
pub const LIST_USERS: Right = right("+acl|list", &["ACL", "LIST"]);
pub const SET_USER: Right = right("+acl|setuser", &["ACL", "SETUSER", "x"]);
pub const SAVE_USERS: Right = right("+acl|save", &["ACL", "SAVE"]);
pub const MULTI: Right = right("+multi", &["MULTI"]);
pub const EXEC: Right = right("+exec", &["EXEC"]);
pub const LIST_CLIENTS: Right = right("+client|list", &["CLIENT", "LIST"]);
pub const KILL_CLIENTS: Right = right("+client|kill", &["CLIENT", "KILL", "USER", "x"]);
pub const GET_CONFIG: Right = right("+config|get", &["CONFIG", "GET", "aclfile"]);
pub const SET_CONFIG: Right = right("+config|set", &["CONFIG", "SET", "requirepass", "x"]);
pub const REWRITE_CONFIG: Right = right("+config|rewrite", &["CONFIG", "REWRITE"]);
pub const INFO: Right = right("+info", &["INFO"]);
pub const SELECT: Right = right("+select", &["SELECT", "0"]);
pub const SCAN: Right = right("+scan", &["SCAN", "0"]);
pub const DBSIZE: Right = right("+dbsize", &["DBSIZE"]);

/// What changing a user takes, whatever of it.
pub const CHANGE_USERS: [Right; 4] = [GET_USER, SET_USER, MULTI, EXEC];
pub const END_SESSIONS: [Right; 2] = [LIST_CLIENTS, KILL_CLIENTS];
pub const KNOW_FILES: [Right; 2] = [GET_CONFIG, INFO];
pub const SEARCH_KEYS: [Right; 5] = [SELECT, SCAN, DBSIZE, GET_CONFIG, INFO];

/// The right to a command on a key: its rule is the command's, and the key's.
pub struct OnKey<'a> {
    pub name: &'static str,
    pub key: &'a str,
}

/// The rules that are missing for these commands, in their order.
pub async fn missing(
    session: &Session,
    rights: &[Right],
    on_keys: &[OnKey<'_>],
) -> Result<Vec<String>, ConnectorError> {
    let own = session.own().as_str();
    let dry_run = |words: &[&str]| {
        let mut all = vec!["ACL", "DRYRUN", own];
        all.extend(words);
        command(&all)
    };
    let asked = std::iter::once(&ASK).chain(rights);
    let mut questions: Vec<_> = asked.clone().map(|right| dry_run(right.command)).collect();
    for on in on_keys {
        let words: Vec<&str> = match on.name {
            "eval" => vec!["EVAL", "return 1", "1", on.key],
            name => vec![name, on.key],
        };
        questions.push(dry_run(&words));
    }
    let rules = asked.map(|right| right.rule.to_owned());
    let rules = rules.chain(on_keys.iter().map(|on| format!("+{} ~{}", on.name, "*")));
    let mut missing: Vec<String> = Vec::new();
    for (answer, rule) in session.line.ask_all(questions).await?.into_iter().zip(rules) {
        if let Err(error) = done(&answer) {
            let error = of_server(error);
            if !is_forbidden(&error) {
                return Err(error);
            }
        }
        // Another answer than OK says why not.
        let allowed = answer == Value::Okay;
        if !allowed {
            missing.extend(rule.split(' ').map(str::to_owned));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    missing.retain(|rule| seen.insert(rule.clone()));
    Ok(missing)
}

/// A check of these rights, which says how to give what is missing.
pub async fn rights_check(
    session: &Session,
    name: &str,
    rights: &[Right],
    on_keys: &[OnKey<'_>],
) -> Result<Check, ConnectorError> {
    let missing = missing(session, rights, on_keys).await?;
    let own = session.own();
    Ok(if missing.is_empty() {
        check(name, true, format!("{own} has the rights"))
    } else {
        let rules = missing.join(" ");
        check(name, false, format!("as an administrator run: ACL SETUSER {own} {rules}"))
    })
}
