//! A domain controller of Active Directory: Samba, on a loopback address of its own. Shared by the tests of a run.
//!
//! Needs root: its ports (389, 636, 88) are fixed. In `OU=staff` the account `svc` has been delegated what the
//! connector's page asks for; `weak` can read and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::{self, Nursery};
use crate::{PeerError, ca, healthy, password, program};

const INSTALL: &str = "apt-get install samba samba-ad-provision samba-vfs-modules ldap-utils";
const START_WITHIN: Duration = Duration::from_mins(1);
/// Without it provisioning fails when it sets access rules on files.
const ACL_MODULES: [&str; 2] = ["/usr/lib", "samba/vfs/acl_xattr.so"];

/// Where everything lies.
pub const BASE: &str = "DC=corp,DC=example";
/// Where tests make their entries, and `svc` has rights.
pub const STAFF: &str = "OU=staff,DC=corp,DC=example";
pub const ADMIN: &str = "Administrator@CORP.EXAMPLE";
pub const SERVICE: &str = "svc@corp.example";
pub const WEAK: &str = "weak@corp.example";

/// Rights of `svc`: Reset Password, write userAccountControl and pwdLastSet of users, write member of groups.
/// <https://learn.microsoft.com/windows/win32/adschema/active-directory-schema>
const RIGHTS: [(&str, &str, &str); 4] = [
    ("CR", "00299570-246d-11d0-a768-00aa006e0529", USER_CLASS),
    ("WP", "bf967a68-0de6-11d0-a285-00aa003049e2", USER_CLASS),
    ("WP", "bf967a0a-0de6-11d0-a285-00aa003049e2", USER_CLASS),
    ("WP", "bf9679c0-0de6-11d0-a285-00aa003049e2", GROUP_CLASS),
];
const USER_CLASS: &str = "bf967aba-0de6-11d0-a285-00aa003049e2";
const GROUP_CLASS: &str = "bf967a9c-0de6-11d0-a285-00aa003049e2";

/// A running domain controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Samba {
    /// A loopback address; the certificate is for it, for 127.0.0.1 and for `localhost`.
    pub address: String,
    /// Of all three accounts.
    pub password: String,
    pub ca_pem: String,
    ca_file: String,
}

/// Joins the domain controller of this run, or starts it.
pub async fn join() -> Result<Samba, PeerError> {
    let samba = program(&["samba"], "samba", INSTALL)?;
    let tool = program(&["samba-tool"], "samba-tool", INSTALL)?;
    program(&["ldapmodify"], "ldap-utils", INSTALL)?;
    let [root, module] = ACL_MODULES;
    let found = fs::read_dir(root).is_ok_and(|mut folders| {
        folders.any(|folder| folder.is_ok_and(|folder| folder.path().join(module).is_file()))
    });
    if !found || !rustix::process::geteuid().is_root() {
        let what = "samba's acl_xattr module, or root";
        return Err(PeerError::Missing { what, install: INSTALL });
    }
    run::join("samba", async |nursery: &Nursery| start(nursery, &samba, &tool).await).await
}

async fn start(nursery: &Nursery, samba: &Path, tool: &Path) -> Result<Samba, PeerError> {
    let folder = &nursery.folder;
    let random = uuid::Uuid::new_v4();
    let [a, b, c, ..] = *random.as_bytes();
    let address = format!("127.{}.{}.{}", 20 + a % 200, b, 1 + c % 250);
    for name in ["etc", "private", "state", "cache", "lock", "run", "log", "ncalrpc"] {
        fs::create_dir(folder.join(name)).map_err(PeerError::io("make a folder for samba"))?;
    }
    let names = ["dc1.corp.example", "localhost", "127.0.0.1", &address];
    let certificate = ca::issue(&folder.join("ca"), &names)?;
    let ca_file = certificate.ca().display().to_string();
    // Three kinds of characters, as the domain's policy wants them.
    let password = format!("Peer-{}", password());
    let server = Samba { address, password, ca_pem: certificate.ca_pem.clone(), ca_file };

    let config = folder.join("etc/smb.conf");
    let write = || PeerError::io("write samba's configuration");
    fs::write(&config, "").map_err(write())?;
    let paths = |name: &str| folder.join(name).display().to_string();
    let mut provision = Command::new(tool);
    provision.args(["domain", "provision", "--realm=CORP.EXAMPLE", "--domain=CORP"]);
    provision.args(["--server-role=dc", "--dns-backend=SAMBA_INTERNAL", "--host-name=dc1"]);
    provision.arg(format!("--configfile={}", config.display()));
    provision.arg(format!("--host-ip={}", server.address));
    provision.arg(format!("--adminpass={}", server.password));
    for (option, name) in [
        ("private dir", "private"),
        ("state directory", "state"),
        ("cache directory", "cache"),
        ("lock directory", "lock"),
        ("pid directory", "run"),
    ] {
        provision.arg(format!("--option={option}={}", paths(name)));
    }
    provision.arg(format!("--option=interfaces={}/8", server.address));
    provision.arg("--option=bind interfaces only=yes");
    run(provision, "samba-tool domain provision")?;

    let text = format!(
        "[global]
realm = CORP.EXAMPLE
workgroup = CORP
netbios name = DC1
server role = active directory domain controller
private dir = {private}
state directory = {state}
cache directory = {cache}
lock directory = {lock}
pid directory = {run}
ncalrpc dir = {ncalrpc}
winbindd socket directory = {run}/winbindd
ntp signd socket directory = {run}/ntp_signd
log file = {log}/samba.log
interfaces = {address}/8
bind interfaces only = yes
server services = ldap, cldap, kdc
tls enabled = yes
tls certfile = {cert}
tls keyfile = {key}
tls cafile = {ca}
ldap server require strong auth = yes
old password allowed period = 0
",
        private = paths("private"),
        state = paths("state"),
        cache = paths("cache"),
        lock = paths("lock"),
        run = paths("run"),
        ncalrpc = paths("ncalrpc"),
        log = paths("log"),
        address = server.address,
        cert = certificate.cert().display(),
        key = certificate.key().display(),
        ca = server.ca_file,
    );
    fs::write(&config, text).map_err(write())?;
    let mut command = Command::new(samba);
    command.args(["-i", "-M", "single", "--no-process-group", "--debug-stdout", "-s"]);
    command.arg(&config).current_dir("/");
    let log = nursery.spawn("samba", &mut command)?;
    let mut search = server.client("ldapsearch", ADMIN, &server.password);
    search.args(["-s", "base", "-b", "", "1.1"]);
    let well = async || search.output().is_ok_and(|output| output.status.success());
    healthy("samba", &log, START_WITHIN, well).await?;
    accounts(&server, folder, tool, &config)?;
    Ok(server)
}

/// Makes the accounts, and gives `svc` its rights.
fn accounts(server: &Samba, folder: &Path, tool: &Path, config: &Path) -> Result<(), PeerError> {
    let account = |name: &str| {
        format!(
            "dn: CN={name},CN=Users,{BASE}\nobjectClass: user\nsAMAccountName: {name}\n\
             userPrincipalName: {name}@corp.example\nuserAccountControl: 544\n\n"
        )
    };
    let unit = format!("dn: {STAFF}\nobjectClass: organizationalUnit\n\n");
    let text = [unit, account("svc"), account("weak")].concat();
    let file = folder.join("accounts.ldif");
    fs::write(&file, text).map_err(PeerError::io("write samba's accounts"))?;
    let mut add = server.client("ldapmodify", ADMIN, &server.password);
    add.arg("-a").arg("-f").arg(&file);
    run(add, "ldapmodify")?;
    let samba_tool = || {
        let mut command = Command::new(tool);
        command.args(["-s"]).arg(config).arg("-H").arg(folder.join("private/sam.ldb"));
        command
    };
    let reordered = |words: &[&str]| {
        let mut command = Command::new(tool);
        command.args(words).args(samba_tool().get_args());
        command
    };
    for name in ["svc", "weak"] {
        let mut command = reordered(&["user", "setpassword", name]);
        command.arg(format!("--newpassword={}", server.password));
        run(command, "samba-tool user setpassword")?;
        run(reordered(&["user", "enable", name]), "samba-tool user enable")?;
    }
    let shown =
        run(reordered(&["user", "show", "svc", "--attributes=objectSid"]), "samba-tool user show")?;
    let sid = shown.lines().find_map(|line| line.strip_prefix("objectSid: "));
    let sid = sid.ok_or_else(|| PeerError::Other("svc has no objectSid".to_owned()))?.trim();
    let rights = RIGHTS
        .map(|(right, what, class)| format!("(OA;CIIO;{right};{what};{class};{sid})"))
        .concat();
    let mut command = reordered(&["dsacl", "set"]);
    command.arg(format!("--objectdn={STAFF}")).arg(format!("--sddl={rights}"));
    run(command, "samba-tool dsacl set").map(drop)
}

fn run(mut command: Command, what: &str) -> Result<String, PeerError> {
    let done = command.output().map_err(PeerError::io(format!("run {what}")))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let from = said.len().saturating_sub(2000);
    let said = said.get(from..).unwrap_or(&said);
    Err(PeerError::Other(format!("{what} failed: {said}")))
}

impl Samba {
    /// One of OpenLDAP's clients, over TLS, bound as somebody.
    pub fn client(&self, program: &str, name: &str, password: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("LDAPTLS_CACERT", &self.ca_file)
            .args(["-x", "-H", &format!("ldaps://{}", self.address)])
            .args(["-D", name, "-w", password]);
        command
    }
}
