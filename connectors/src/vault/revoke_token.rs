//! `vault.revoke_token`: a token, named by its accessor, is void.
//!
//! A server has too many tokens to list them, and they come and go: the target is the auth method that issued
//! the token, and the accessor is a parameter. An accessor names a token, but nobody can use it as one.
//! <https://developer.hashicorp.com/vault/docs/concepts/tokens#token-accessors>

use nexplane_core::catalog::EffectClass;
use nexplane_core::plan::{Check, Field, TargetRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::kv::{hidden, unseen};
use super::rights::{add, checks};
use super::session::{Answer, Answered, refusal, words};
use super::target::{AUTH_METHOD, auth_method_of};
use super::{Session, Vault};
use crate::sdk::{
    Action, ActionMeta, Before, ConnectorError, Description, DigestKey, Effect, ErrorKind,
    StepContext, TargetState, check, line,
};

const LOOK_UP: &str = "auth/token/lookup-accessor";
const REVOKE: &str = "auth/token/revoke-accessor";

/// Revokes one token that the auth method issued.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// Accessor of the token, as logins, audit devices and lookups show it. Never the token itself.
    accessor: Accessor,
}

/// Letters, digits, dots, dashes and underscores. It does not look like a token.
#[derive(Debug)]
pub struct Accessor(String);

const LONGEST: usize = 128;

impl<'de> Deserialize<'de> for Accessor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain = (1..=LONGEST).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        // Prefixes of tokens: <https://developer.hashicorp.com/vault/docs/concepts/tokens#token-prefixes>
        let is_token =
            ["hvs.", "hvb.", "hvr.", "s.", "b.", "r."].iter().any(|p| text.starts_with(p));
        if is_token {
            Err(serde::de::Error::custom(
                "this is a token, and no accessor: it must be kept secret",
            ))
        } else if is_plain {
            Ok(Self(text))
        } else {
            Err(serde::de::Error::custom("an accessor has 1 to 128 letters and digits"))
        }
    }
}

impl JsonSchema for Accessor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Accessor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9A-Za-z._-]+$",
            "minLength": 1,
            "maxLength": LONGEST,
        })
    }
}

/// A token, as far as its accessor shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Token {
    /// There is none: it was revoked, has expired, or never was.
    Absent,
    /// The connection may not look.
    Hidden,
    Present {
        display_name: String,
        /// Where it was issued, such as `auth/approle/login`.
        path: String,
        policies: Vec<String>,
        /// Seconds since 1970.
        creation_time: u64,
    },
}

/// Nothing beyond what can be read back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {}

impl TargetState for Token {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Absent => vec![Field::new("exists", false)],
            Self::Hidden => vec![Field::redacted("exists", "not readable by the connection")],
            Self::Present { display_name, path, policies, creation_time } => vec![
                Field::new("exists", true),
                Field::new("display_name", display_name.clone()),
                Field::new("path", path.clone()),
                Field::new("policies", policies.clone()),
                Field::new("creation_time", *creation_time),
            ],
        }
    }

    fn fingerprinted(&self, _: &DigestKey) -> Value {
        match self {
            Self::Absent => json!({ "state": "absent" }),
            Self::Hidden => json!({ "state": "hidden" }),
            Self::Present { display_name, path, policies, creation_time } => json!({
                "state": "present",
                "display_name": display_name,
                "path": path,
                "policies": policies,
                "creation_time": creation_time,
            }),
        }
    }
}

/// Whether the server knows no token with the accessor. HashiCorp Vault and OpenBao answer 400, some versions 404,
/// and both say "invalid accessor". A 403 never says that there is none: also a policy that allows the path can
/// refuse a parameter (`allowed_parameters`). What says nothing of an accessor is some other server's answer.
/// <https://developer.hashicorp.com/vault/docs/concepts/policies#parameter-constraints>
fn is_unknown(status: u16, said: &Value) -> bool {
    matches!(status, 400 | 404) && words(said).contains("invalid accessor")
}

impl RevokeToken {
    fn body(&self) -> Value {
        json!({ "accessor": self.accessor.0 })
    }

    async fn find(&self, session: &Session) -> Result<Token, ConnectorError> {
        #[derive(Deserialize)]
        struct Found {
            display_name: String,
            path: String,
            #[serde(default)]
            policies: Option<Vec<String>>,
            creation_time: u64,
        }
        Ok(match session.ask(LOOK_UP, &self.body()).await? {
            Answer::Found(reply) => {
                let found = reply.json::<Answered<Found>>()?.data;
                let mut policies = found.policies.unwrap_or_default();
                policies.sort();
                Token::Present {
                    display_name: found.display_name,
                    path: found.path,
                    policies,
                    creation_time: found.creation_time,
                }
            }
            Answer::Absent(reply) | Answer::Refused(reply) => {
                if is_unknown(reply.status, &reply.said()) {
                    Token::Absent
                } else {
                    return Err(refusal(&reply));
                }
            }
            Answer::Denied => Token::Hidden,
        })
    }
}

impl Action for RevokeToken {
    type Connector = Vault;
    type State = Token;
    type Prepared = ();
    type Outcome = Outcome;

    const META: ActionMeta = ActionMeta {
        id: "revoke_token",
        title: "Revoke a token",
        description: "Revokes one token that the auth method issued, named by its accessor. The tokens \
                      that it made and the leases of all of them are revoked with it. Whoever holds \
                      it may log in again, if they still can. Batch tokens have no accessor and cannot \
                      be revoked.",
        effect_class: EffectClass::Verifiable,
        base_risk: 5,
        target_types: &[AUTH_METHOD],
        permissions: &[
            "update on auth/token/lookup-accessor",
            "update on auth/token/revoke-accessor",
        ],
        produces: &[],
    };

    fn example() -> Value {
        json!({ "accessor": "8mWHaddzMuMAAr50B45tLOFM" })
    }

    async fn snapshot(&self, session: &Session, _: &TargetRef) -> Result<Token, ConnectorError> {
        self.find(session).await
    }

    async fn observe(
        &self,
        session: &Session,
        _: &TargetRef,
        _: &Before<Self>,
    ) -> Result<Token, ConnectorError> {
        match self.find(session).await? {
            Token::Hidden => Err(unseen(LOOK_UP)),
            seen @ (Token::Absent | Token::Present { .. }) => Ok(seen),
        }
    }

    async fn precheck(
        &self,
        session: &Session,
        target: &TargetRef,
        token: &Token,
    ) -> Result<Vec<Check>, ConnectorError> {
        let method = auth_method_of(target)?;
        let account = &session.account;
        let own = account.accessor.as_deref() == Some(self.accessor.0.as_str());
        let mut answers = vec![
            match token {
                Token::Present { display_name, .. } => {
                    check("the token exists", true, format!("it is of {display_name}"))
                }
                Token::Absent => {
                    let no =
                        "the server has no token with this accessor: nothing is left to revoke";
                    check("the token exists", false, no)
                }
                Token::Hidden => check("the token exists", false, add(LOOK_UP, &["update"])),
            },
            check(
                "the token is not the connection's own",
                !own,
                if own {
                    "it is what Nexplane itself uses here: revoke it by hand".to_owned()
                } else {
                    format!("the connection uses a token of {}", account.name)
                },
            ),
            check(
                "the connection's own token does not hang on another",
                account.orphan,
                if account.orphan {
                    "it is an orphan: no other token's end is its own"
                } else {
                    "its end would be the connection's own if it made the connection's token: give \
                     the connection an orphan token, or an AppRole"
                },
            ),
        ];
        if let Token::Present { path, .. } = token {
            let here = path.starts_with(&format!("auth/{method}/"));
            answers.push(check(
                "the auth method issued the token",
                here,
                if here {
                    format!("it was issued at {path}")
                } else {
                    format!("it was issued at {path}: choose that auth method as the target")
                },
            ));
        }
        answers.extend(checks(session, &[(LOOK_UP, &["update"]), (REVOKE, &["update"])]).await?);
        Ok(answers)
    }

    fn prepare(&self, _: &TargetRef) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn describe(&self, target: &TargetRef, token: &Token) -> Description {
        let exists = matches!(token, Token::Present { .. });
        let who = match token {
            Token::Present { display_name, .. } => format!(" of {display_name}"),
            Token::Absent | Token::Hidden => String::new(),
        };
        Description {
            diff: exists
                .then(|| line(target, format!("token {}", self.accessor.0), "valid", "revoked"))
                .into_iter()
                .collect(),
            summary: format!("The token{who}, and all that it made, are revoked."),
            rollback: "A revoked token cannot come back: its holder has to log in again."
                .to_owned(),
        }
    }

    async fn execute(
        &self,
        session: &Session,
        _: &StepContext,
        before: &Before<Self>,
    ) -> Result<Effect<Outcome>, ConnectorError> {
        let done = |changed| Ok(Effect { changed, outcome: Outcome {} });
        if session.account.accessor.as_deref() == Some(self.accessor.0.as_str()) {
            let message = "the token is the connection's own; nothing was changed";
            return Err(ConnectorError::conflict(message));
        }
        match self.find(session).await? {
            Token::Absent => return done(false),
            Token::Hidden => return Err(hidden(LOOK_UP)),
            now @ Token::Present { .. } if now != before.state => {
                let message =
                    "the token is not the one that was planned; nothing was changed: plan again";
                return Err(ConnectorError::conflict(message));
            }
            Token::Present { .. } => {}
        }
        match session.write(REVOKE, &self.body()).await {
            Ok(_) => done(true),
            // It went away by itself in between.
            Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound) => {
                match self.find(session).await {
                    Ok(Token::Absent) => done(false),
                    Ok(Token::Hidden | Token::Present { .. }) | Err(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    fn verify(&self, now: &Token, _: &Before<Self>, _: Option<&Outcome>) -> bool {
        *now == Token::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both products answer about an accessor that they do not know, and what else has the same status.
    #[test]
    fn only_an_invalid_accessor_is_no_token() {
        let said = |text: &str| json!({ "errors": [text] });
        for (status, text) in [
            (400, "invalid accessor"),
            (400, "1 error occurred:\n\t* invalid accessor\n\n"),
            (404, "invalid accessor"),
        ] {
            assert!(is_unknown(status, &said(text)), "{status} {text}");
        }
        for (status, said) in [
            (403, said("invalid accessor")),
            (403, said("bad token")),
            (403, said("1 error occurred:\n\t* permission denied\n\n")),
            (400, said("missing accessor")),
            (400, json!({})),
            (404, json!({ "errors": [] })),
            (404, said("no handler for route \"auth/token/lookup-accessor\"")),
        ] {
            assert!(!is_unknown(status, &said), "{status} {said}");
        }
    }

    #[test]
    fn an_accessor_is_not_a_token() {
        for good in ["8mWHaddzMuMAAr50B45tLOFM", "8mWHaddzMuMAAr50B45tLOFM.Aux80j"] {
            assert!(serde_json::from_value::<Accessor>(json!(good)).is_ok(), "{good}");
        }
        for bad in ["", "a b", "hvs.CAESI", "s.BV7lzotpqLvtogJ4uzGRx8hv", "a/b"] {
            let error = serde_json::from_value::<Accessor>(json!(bad)).expect_err(bad);
            assert!(!error.to_string().contains("CAESI"));
        }
    }
}
