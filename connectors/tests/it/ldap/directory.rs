//! An OpenLDAP server for one test, and OpenLDAP's own clients to look at it and to change it behind our back.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_core::plan::TargetRef;
use nexplane_peers::slapd::{ADMIN, BASE, SERVICE, Slapd, WEAK};
use serde_json::{Value, json};

use crate::fixture::target;
use crate::suite::{Account, Case, Login, Peer};

/// Password of every user that a test makes.
pub const PASSWORD: &str = "correct-horse-battery";
/// A name with what RFC 4514 and RFC 4515 make special.
pub const AWKWARD: &str = r"cn=O'Neil\, Ada (x)*\\ \#\+é";

pub struct OpenLdap {
    pub server: Slapd,
}

/// Runs a client with this input.
pub fn run(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The same, and it has to go well.
pub fn done(command: Command, input: &str) -> String {
    let output = run(command, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}

/// `dn:: …` of an entry below the base, in whatever characters.
pub fn dn_line(dn: &str) -> String {
    format!("dn:: {}\n", STANDARD.encode(dn))
}

pub fn nobody(kind: &str, prefix: &str) -> TargetRef {
    target(kind, &format!("{prefix}/{}", uuid::Uuid::nil()), "nobody")
}

impl OpenLdap {
    pub async fn new() -> Self {
        Self { server: Slapd::start().await.unwrap() }
    }

    pub fn credentials_of(&self, dn: &str) -> Value {
        json!({
            "url": format!("ldaps://localhost:{}", self.server.tls_port),
            "bind_dn": dn,
            "bind_password": self.server.password,
            "ca_certificate": self.server.certificate.ca_pem,
        })
    }

    /// Makes entries, as the administrator.
    pub fn add(&self, ldif: &str) {
        let mut command = self.server.client("ldapmodify", ADMIN, &self.server.password);
        command.arg("-a");
        done(command, ldif);
    }

    /// Changes one entry, as the administrator: `replace: x`, `x: value` …
    pub fn modify(&self, dn: &str, change: &str) {
        done(
            self.server.client("ldapmodify", ADMIN, &self.server.password),
            &format!("{}changetype: modify\n{change}\n", dn_line(dn)),
        );
    }

    /// LDIF of entries, read as the administrator.
    pub fn search(&self, base: &str, arguments: &[&str]) -> String {
        let mut command = self.server.client("ldapsearch", ADMIN, &self.server.password);
        command.args(["-LLL", "-o", "ldif-wrap=no", "-b", base]).args(arguments);
        done(command, "")
    }

    /// One value of an entry.
    pub fn value(&self, dn: &str, attribute: &str) -> Option<String> {
        let text = self.search(dn, &["-s", "base", attribute]);
        let prefix = format!("{attribute}: ");
        text.lines().find_map(|line| Some(line.strip_prefix(&prefix)?.to_owned()))
    }

    /// A user who logs in with [`PASSWORD`]; answers the DN.
    pub fn user(&self, rdn: &str, uid: &str) -> String {
        let dn = format!("{rdn},ou=people,{BASE}");
        self.add(&format!(
            "{}objectClass: inetOrgPerson\nsn: x\nuid: {uid}\nuserPassword: {PASSWORD}\n",
            dn_line(&dn)
        ));
        dn
    }

    pub fn group(&self, rdn: &str, members: &[&str]) -> String {
        let dn = format!("{rdn},ou=groups,{BASE}");
        let members: String =
            members.iter().map(|dn| format!("member:: {}\n", STANDARD.encode(dn))).collect();
        self.add(&format!("{}objectClass: groupOfNames\n{members}", dn_line(&dn)));
        dn
    }

    pub fn target(&self, kind: &str, prefix: &str, dn: &str) -> TargetRef {
        let id = self.value(dn, "entryUUID").expect("the entry is there");
        target(kind, &format!("{prefix}/{id}"), dn)
    }

    pub fn user_target(&self, dn: &str) -> TargetRef {
        self.target("ldap_user", "user", dn)
    }

    /// What the server says to a bind with the password policy control: nothing when it is let in.
    pub fn refusal(&self, dn: &str, password: &str) -> Option<String> {
        let mut command = self.server.client("ldapwhoami", dn, password);
        command.args(["-e", "ppolicy"]);
        let output = run(command, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (!output.status.success() || said.contains("must be changed")).then_some(said)
    }
}

impl Peer for OpenLdap {
    const CONNECTOR: &'static str = "ldap";
    const WHAT_TO_DO: &'static str = "let the directory's administrator";
    const ELSEWHERE: &'static [&'static str] = &["ldap.reset_ad_password"];

    async fn start() -> Self {
        Self::new().await
    }

    async fn login(&self, account: Account) -> Login {
        let name = match account {
            Account::Full => ADMIN,
            Account::Manager => SERVICE,
            Account::Weak => WEAK,
        };
        Login { account, name: name.to_owned(), credentials: self.credentials_of(name) }
    }

    fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.server.tls_port)
    }

    fn moved(&self, mut credentials: Value, port: u16) -> Value {
        credentials["url"] = json!(format!("ldaps://127.0.0.1:{port}"));
        credentials
    }

    fn with_wrong_secret(&self, mut credentials: Value) -> Value {
        credentials["bind_password"] = json!("wrong-password");
        credentials
    }

    async fn prepare(&self, action: &str, _: &Login) -> Case {
        let user = self.user(AWKWARD, "ada");
        let other = self.user("cn=Other", "other");
        let group = |members: &[&str]| {
            let dn = self.group(r"cn=Devs \2B ops", members);
            self.target("ldap_group", "group", &dn)
        };
        let member = STANDARD.encode(&user);
        let mut parameters = json!({});
        let (target, disturbance) = match action {
            "ldap.add_group_member" => {
                parameters = json!({ "member": user });
                (group(&[&other]), format!("add: member\nmember:: {member}"))
            }
            "ldap.remove_group_member" => {
                parameters = json!({ "member": self.user_target(&user).external_key });
                (group(&[&other, &user]), format!("delete: member\nmember:: {member}"))
            }
            "ldap.expire_password" => {
                (self.user_target(&user), "replace: pwdReset\npwdReset: TRUE".to_owned())
            }
            "ldap.lock_user" => {
                let change = "replace: pwdAccountLockedTime\npwdAccountLockedTime: 20200101000000Z";
                (self.user_target(&user), change.to_owned())
            }
            "ldap.unlock_user" => {
                let change = "replace: pwdAccountLockedTime\npwdAccountLockedTime: ";
                self.modify(&user, &format!("{change}20260101000000Z"));
                (self.user_target(&user), format!("{change}000001010000Z"))
            }
            "ldap.reset_password" => {
                let change = "replace: userPassword\nuserPassword: of-somebody-else";
                (self.user_target(&user), change.to_owned())
            }
            other => panic!("{other} has no case: every action must have one"),
        };
        let never = match &*target.kind {
            "ldap_group" => vec![nobody("ldap_group", "group")],
            _ => vec![nobody("ldap_user", "user")],
        };
        Case { target, parameters, disturbance, never, in_parts: false }
    }

    async fn disturb(&self, case: &Case) {
        self.modify(&case.target.name, &case.disturbance);
    }

    async fn witness(&self) -> String {
        let attributes =
            ["userPassword", "pwdReset", "pwdAccountLockedTime", "member", "memberOf", "uid", "cn"];
        let mut lines: Vec<_> = [format!("ou=people,{BASE}"), format!("ou=groups,{BASE}")]
            .iter()
            .flat_map(|base| {
                let text = self.search(base, &attributes);
                // The order of values is the server's.
                text.split("\n\n")
                    .map(|entry| {
                        let mut lines: Vec<_> = entry.lines().collect();
                        lines.sort_unstable();
                        lines.join("\n")
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        lines.join("\n\n")
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.server.password.clone(), PASSWORD.to_owned()]
    }
}
