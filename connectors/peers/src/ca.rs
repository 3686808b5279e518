//! A private CA for the servers of one folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::PeerError;

/// Files of a server: `ca.pem`, `cert.pem`, `key.pem`.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub folder: PathBuf,
    /// PEM of the CA that signed it.
    pub ca_pem: String,
}

impl Certificate {
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Readable by its owner only.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }
}

/// A certificate for these names and addresses, of a CA that is made for it and forgotten. Valid for
/// thirty days: longer than anybody looks at a sandbox.
pub fn issue(folder: &Path, names: &[&str]) -> Result<Certificate, PeerError> {
    let bad = |error: rcgen::Error| PeerError::Other(format!("no certificate: {error}"));
    fs::create_dir_all(folder).map_err(PeerError::io("make a folder for a certificate"))?;
    let now = time::OffsetDateTime::now_utc();
    let validity = (now - time::Duration::hours(1), now + time::Duration::days(30));

    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Nexplane test CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity;
    let ca =
        CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(bad)?).map_err(bad)?;

    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).map_err(bad)?;
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("", String::as_str));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = validity;
    let key = KeyPair::generate().map_err(bad)?;
    let certificate = params.signed_by(&key, &ca).map_err(bad)?;

    let files = Certificate { folder: folder.to_owned(), ca_pem: ca.pem() };
    for (path, text, mode) in [
        (files.ca(), ca.pem(), 0o644),
        (files.cert(), certificate.pem(), 0o644),
        (files.key(), key.serialize_pem(), 0o600),
    ] {
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(PeerError::io("write a certificate"))?;
    }
    Ok(files)
}
