//! A test's users and groups in the shared domain.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexplane_connectors::sdk::AnySession;
use nexplane_core::plan::TargetRef;
use nexplane_peers::samba::{self, ADMIN, BASE, SERVICE, STAFF, Samba, WEAK};
use serde_json::{Value, json};
use uuid::Uuid;

use super::directory::{dn_line, done, nobody, run};
use crate::fixture::{context, open, target};
use crate::suite::{Account, Case, Login, Peer};

/// Password of every user that a test makes.
pub const PASSWORD: &str = "Correct-horse-1";

pub struct Domain {
    pub server: Samba,
    /// In the description of everything that this test makes.
    pub tag: String,
}

/// As `unicodePwd` takes it, for LDIF.
pub fn unicode(password: &str) -> String {
    let quoted: Vec<u8> =
        format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(quoted)
}

impl Domain {
    pub async fn new() -> Self {
        let tag = Uuid::new_v4().simple().to_string()[..10].to_owned();
        Self { server: samba::join().await.unwrap(), tag }
    }

    pub fn credentials_of(&self, name: &str) -> Value {
        json!({
            "url": format!("ldaps://{}", self.server.address),
            "bind_dn": name,
            "bind_password": self.server.password,
            "ca_certificate": self.server.ca_pem,
        })
    }

    pub async fn session_of(&self, name: &str) -> Box<dyn AnySession> {
        open("ldap", self.credentials_of(name), &context()).await.expect("it can connect")
    }

    pub fn add(&self, ldif: &str) {
        let mut command = self.server.client("ldapmodify", ADMIN, &self.server.password);
        command.arg("-a");
        done(command, ldif);
    }

    pub fn modify(&self, dn: &str, change: &str) {
        done(
            self.server.client("ldapmodify", ADMIN, &self.server.password),
            &format!("{}changetype: modify\n{change}\n", dn_line(dn)),
        );
    }

    pub fn search(&self, base: &str, arguments: &[&str]) -> String {
        let mut command = self.server.client("ldapsearch", ADMIN, &self.server.password);
        command.args(["-LLL", "-o", "ldif-wrap=no", "-b", base]).args(arguments);
        done(command, "")
    }

    pub fn value(&self, dn: &str, attribute: &str) -> Option<String> {
        let text = self.search(dn, &["-s", "base", attribute]);
        let prefix = format!("{attribute}: ");
        text.lines().find_map(|line| Some(line.strip_prefix(&prefix)?.to_owned()))
    }

    /// A login name of this test.
    pub fn login_name(&self, name: &str) -> String {
        format!("{name}-{}", self.tag)
    }

    /// A user who logs in with [`PASSWORD`]; answers the DN.
    pub fn user(&self, name: &str) -> String {
        let login = self.login_name(name);
        let dn = format!(r"CN=O'Neil\, Ada (x)* é {login},{STAFF}");
        self.add(&format!(
            "{}objectClass: user\nsAMAccountName: {login}\nuserPrincipalName: {login}@corp.example\n\
             description: {}\nuserAccountControl: 512\nunicodePwd:: {}\n",
            dn_line(&dn),
            self.tag,
            unicode(PASSWORD)
        ));
        dn
    }

    pub fn group(&self, name: &str, members: &[&str]) -> String {
        let login = self.login_name(name);
        let dn = format!("CN={login},{STAFF}");
        let members: String =
            members.iter().map(|dn| format!("member:: {}\n", STANDARD.encode(dn))).collect();
        self.add(&format!(
            "{}objectClass: group\nsAMAccountName: {login}\ndescription: {}\n{members}",
            dn_line(&dn),
            self.tag
        ));
        dn
    }

    pub fn target(&self, kind: &str, prefix: &str, dn: &str) -> TargetRef {
        let text = self.search(dn, &["-s", "base", "objectGUID"]);
        let guid = text.lines().find_map(|line| line.strip_prefix("objectGUID:: ")).unwrap();
        let id = Uuid::from_slice_le(&STANDARD.decode(guid).unwrap()).unwrap();
        target(kind, &format!("{prefix}/{id}"), dn)
    }

    pub fn user_target(&self, dn: &str) -> TargetRef {
        self.target("ldap_user", "user", dn)
    }

    /// What the server says to a login: nothing when it lets the user in, else the code.
    pub fn refusal(&self, name: &str, password: &str) -> Option<String> {
        let mut command = self.server.client("ldapsearch", name, password);
        command.args(["-s", "base", "-b", "", "1.1"]);
        let output = run(command, "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = said.split_once("data ").map_or(said.as_str(), |(_, rest)| &rest[..3]);
        (!output.status.success()).then(|| code.to_owned())
    }
}

impl Peer for Domain {
    const CONNECTOR: &'static str = "ldap";
    const WHAT_TO_DO: &'static str = "let the directory's administrator";
    const ELSEWHERE: &'static [&'static str] = &["ldap.reset_password"];

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
        (self.server.address.clone(), 636)
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
        let user = self.user("ada");
        let group = |members: &[&str]| {
            let dn = self.group("devs", members);
            self.target("ldap_group", "group", &dn)
        };
        let member = STANDARD.encode(&user);
        let mut parameters = json!({});
        let (target, disturbance) = match action {
            "ldap.add_group_member" => {
                parameters = json!({ "member": self.user_target(&user).external_key });
                (group(&[]), format!("add: member\nmember:: {member}"))
            }
            "ldap.remove_group_member" => {
                parameters = json!({ "member": user });
                (group(&[&user]), format!("delete: member\nmember:: {member}"))
            }
            "ldap.expire_password" => {
                (self.user_target(&user), "replace: pwdLastSet\npwdLastSet: 0".to_owned())
            }
            "ldap.lock_user" | "ldap.unlock_user" => {
                let control = |value: u32| {
                    format!("replace: userAccountControl\nuserAccountControl: {value}")
                };
                // DONT_EXPIRE_PASSWORD must survive.
                let (initially, disturbed) =
                    if action == "ldap.lock_user" { (66048, 66050) } else { (66050, 66048) };
                self.modify(&user, &control(initially));
                (self.user_target(&user), control(disturbed))
            }
            "ldap.reset_ad_password" => {
                let change =
                    format!("replace: unicodePwd\nunicodePwd:: {}", unicode("Of-somebody-2"));
                (self.user_target(&user), change)
            }
            other => panic!("{other} has no case: every action must have one"),
        };
        let never = if target.kind == "ldap_group" {
            vec![nobody("ldap_group", "group")]
        } else {
            let own = ["Administrator", "krbtgt"]
                .map(|name| self.user_target(&format!("CN={name},CN=Users,{BASE}")));
            own.into_iter().chain([nobody("ldap_user", "user")]).collect()
        };
        Case { target, parameters, disturbance, never, in_parts: false }
    }

    async fn disturb(&self, case: &Case) {
        self.modify(&case.target.name, &case.disturbance);
    }

    /// The moment of the last change of a password can never be put back, so only whether there is one; and
    /// whether the old password still opens the door.
    async fn witness(&self) -> String {
        let filter = format!("(description={})", self.tag);
        let text = self.search(STAFF, &[&filter, "userAccountControl", "pwdLastSet", "member"]);
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| match line.strip_prefix("pwdLastSet: ") {
                Some("0") | None => line.to_owned(),
                Some(_) => "pwdLastSet: some time".to_owned(),
            })
            .collect();
        lines.sort();
        let login = format!("{}@corp.example", self.login_name("ada"));
        lines.push(format!("{:?}", self.refusal(&login, PASSWORD)));
        lines.join("\n")
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.server.password.clone(), PASSWORD.to_owned()]
    }
}
