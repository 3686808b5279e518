//! A certificate for the loopback listener, signed by a CA that exists for this directory only.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::account::Account;
use super::error::{EmbeddedError, io_error};

/// Renewed at the first start after this age; the certificates are valid for three years.
const RENEW_AFTER: Duration = Duration::from_hours(365 * 24);

/// Makes `ca`, and `server.crt` and `server.key` in `data`, unless they are there and young. The
/// CA's private key is dropped at once: nobody can sign a second certificate with it.
pub(super) fn prepare(ca: &Path, data: &Path, account: &Account) -> Result<(), EmbeddedError> {
    let (certificate, key) = (data.join("server.crt"), data.join("server.key"));
    let young = |path: &Path| {
        let age = fs::metadata(path).and_then(|found| found.modified()).ok()?.elapsed().ok()?;
        (age < RENEW_AFTER).then_some(())
    };
    if [ca, &certificate, &key].into_iter().all(|path| young(path).is_some()) {
        return Ok(());
    }
    let made = make().map_err(EmbeddedError::Certificate)?;
    for (path, text, mode) in [(&certificate, &made.server, 0o644), (&key, &made.key, 0o600)] {
        // The mode first: the key is never readable by others.
        fs::write(path, "").map_err(io_error("write", path))?;
        account.give(path, mode)?;
        fs::write(path, text).map_err(io_error("write", path))?;
    }
    fs::write(ca, &made.ca).map_err(io_error("write", ca))
}

struct Made {
    ca: String,
    server: String,
    key: String,
}

fn make() -> Result<Made, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = params(Vec::new(), "Nexplane private database CA")?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut server = params(names, "localhost")?;
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = server.signed_by(&key, &issuer)?;
    Ok(Made { ca: ca_certificate.pem(), server: server.pem(), key: key.serialize_pem() })
}

fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    // From last year, so that a clock that is a little behind does not matter.
    let year = i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year());
    params.not_before = date_time_ymd(year.saturating_sub(1), 1, 1);
    params.not_after = date_time_ymd(year.saturating_add(3), 1, 1);
    Ok(params)
}
