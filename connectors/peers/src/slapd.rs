//! OpenLDAP's `slapd`: ldaps and StartTLS, password policies, member-of, referential integrity. One per test.
//!
//! Its administrator is the root DN, which no access rule and no policy holds. `svc` may do what the connector's
//! page asks for, `weak` can read and nothing else.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::ca::{self, Certificate};
use crate::process::Process;
use crate::{PeerError, free_port, password, program};

const INSTALL: &str = "apt-get install slapd ldap-utils";
const START_WITHIN: Duration = Duration::from_secs(20);

/// Where everything lies.
pub const BASE: &str = "dc=corp,dc=example";
pub const ADMIN: &str = "cn=admin,dc=corp,dc=example";
pub const SERVICE: &str = "cn=svc,ou=services,dc=corp,dc=example";
pub const WEAK: &str = "cn=weak,ou=services,dc=corp,dc=example";
pub const POLICY: &str = "cn=default,ou=policies,dc=corp,dc=example";

/// A running server.
#[derive(Debug)]
pub struct Slapd {
    // Before the folder, which must outlive it.
    pub process: Process,
    /// LDAP with StartTLS.
    pub port: u16,
    /// LDAP over TLS.
    pub tls_port: u16,
    /// Of all three accounts.
    pub password: String,
    pub certificate: Certificate,
    folder: TempDir,
}

impl Slapd {
    /// Starts one with an empty directory.
    pub async fn start() -> Result<Self, PeerError> {
        Self::start_in(&std::env::temp_dir()).await
    }

    /// The same with its files in a folder of its own below this one.
    pub async fn start_in(parent: &Path) -> Result<Self, PeerError> {
        let slapd = program(&["slapd"], "slapd", INSTALL)?;
        let slapadd = program(&["slapadd"], "slapadd", INSTALL)?;
        program(&["ldapsearch"], "ldap-utils", INSTALL)?;
        let folder = tempfile::Builder::new()
            .prefix("nexplane-slapd-")
            .tempdir_in(parent)
            .map_err(PeerError::io("make a folder for slapd"))?;
        let certificate = ca::issue(&folder.path().join("ca"), &["localhost", "127.0.0.1"])?;
        let password = password();
        let write = PeerError::io("write slapd's configuration");
        let config = folder.path().join("slapd.conf");
        let seed = folder.path().join("seed.ldif");
        fs::create_dir(folder.path().join("db"))
            .and_then(|()| fs::write(&config, configuration(&folder, &certificate, &password)))
            .and_then(|()| fs::write(&seed, entries(&password)))
            .map_err(write)?;
        let mut add = Command::new(slapadd);
        add.arg("-q").arg("-f").arg(&config).arg("-l").arg(&seed);
        let added = add.output().map_err(PeerError::io("run slapadd"))?;
        if !added.status.success() {
            let said = String::from_utf8_lossy(&added.stderr).into_owned();
            return Err(PeerError::Other(format!("slapadd failed: {said}")));
        }
        let (port, tls_port) = (free_port()?, free_port()?);
        let mut command = Command::new(slapd);
        command.args(["-d", "none", "-f"]).arg(&config);
        command.arg("-h").arg(format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"));
        let process = Process::start("slapd", &command, &folder.path().join("log"))?;
        let mut server = Self { process, port, tls_port, password, certificate, folder };
        let mut search = server.client("ldapsearch", ADMIN, &server.password);
        search.args(["-s", "base", "-b", "", "1.1"]);
        let well = async || search.output().is_ok_and(|output| output.status.success());
        server.process.healthy(START_WITHIN, well).await?;
        Ok(server)
    }

    /// One of the server's own clients, over TLS, bound as somebody. It reads the password from a file, for
    /// everybody on the machine sees its arguments; when that cannot be written, it is the client that
    /// complains.
    pub fn client(&self, program: &str, dn: &str, password: &str) -> Command {
        let secret = self.file(&format!("bind-{}", uuid::Uuid::new_v4().simple()));
        let _ = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&secret)
            .and_then(|mut file| file.write_all(password.as_bytes()));
        let mut command = Command::new(program);
        command
            .env("LDAPTLS_CACERT", self.certificate.ca())
            .args(["-x", "-H", &format!("ldaps://127.0.0.1:{}", self.tls_port)])
            .args(["-D", dn, "-y"])
            .arg(secret);
        command
    }

    /// A file for a client's input.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn configuration(folder: &TempDir, certificate: &Certificate, password: &str) -> String {
    let (folder, ca) = (folder.path().display(), certificate.ca());
    let (ca, cert, key) = (ca.display(), certificate.cert(), certificate.key());
    let (cert, key) = (cert.display(), key.display());
    format!(
        "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb.la
moduleload ppolicy.la
moduleload memberof.la
moduleload refint.la
pidfile {folder}/pid
argsfile {folder}/args
TLSCACertificateFile {ca}
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
security simple_bind=128
sizelimit size.soft=500 size.hard=500 size.prtotal=unlimited
database mdb
suffix \"{BASE}\"
directory {folder}/db
maxsize 67108864
dbnosync
rootdn \"{ADMIN}\"
rootpw {password}
index objectClass eq
index uid,member,memberOf,entryUUID eq
overlay ppolicy
ppolicy_default \"{POLICY}\"
ppolicy_use_lockout
ppolicy_hash_cleartext
overlay memberof
memberof-refint TRUE
overlay refint
refint_attributes member memberOf
access to attrs=userPassword by dn.exact=\"{SERVICE}\" write by self =w by anonymous auth by * none
access to attrs=pwdAccountLockedTime,pwdReset,member,uniqueMember,memberUid \
by dn.exact=\"{SERVICE}\" write by users read by * none
access to * by users read by * none
"
    )
}

fn entries(password: &str) -> String {
    let base = format!(
        "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: corp\no: corp\n\n"
    );
    let units = ["people", "groups", "services", "policies"]
        .map(|unit| format!("dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\n\n"));
    let accounts = [SERVICE, WEAK].map(|dn| {
        format!(
            "dn: {dn}\nobjectClass: device\nobjectClass: simpleSecurityObject\n\
             userPassword: {password}\n\n"
        )
    });
    let policy = format!(
        "dn: {POLICY}\nobjectClass: device\nobjectClass: pwdPolicy\npwdAttribute: userPassword\n\
         pwdLockout: TRUE\npwdMaxFailure: 3\npwdLockoutDuration: 0\npwdMustChange: TRUE\n\
         pwdMinLength: 8\npwdCheckQuality: 1\n"
    );
    [base, units.concat(), accounts.concat(), policy].concat()
}
