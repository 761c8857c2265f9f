//! Who the cluster is: its certificate authority, the server's certificate and the administrator's token.

use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{Error, KUBERNETES_IP, make_private, write_private};
use crate::controller::host::Host;

/// Bytes of randomness in the token.
const TOKEN_BYTES: usize = 32;
/// The longest file that is read here, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Everything that proves who is who. Holds secrets: not `Debug`.
pub(super) struct Identity {
    /// The authority's certificate, PEM.
    pub(super) authority: String,
    /// The server's certificate, PEM.
    pub(super) certificate: String,
    /// The server's key, PEM.
    pub(super) key: String,
    /// The administrator's bearer token.
    pub(super) token: String,
}

/// Reads what is there, makes what is missing, and issues a certificate for this start.
pub(super) fn prepare(directory: &Path, advertised: &str) -> Result<Identity, Error> {
    let pki = directory.join("pki");
    make_private(&pki)?;
    let (certificate_path, key_path) = (pki.join("ca.crt"), pki.join("ca.key"));
    let key = match (read(&key_path)?, read(&certificate_path)?) {
        (Some(key), Some(_)) => KeyPair::from_pem(&key).map_err(|error| damaged(&key_path, &error.to_string()))?,
        // A key without its certificate, or the reverse, is of no use: both are made anew.
        _ => {
            let key = KeyPair::generate()?;
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            write_private(&certificate_path, authority_params().self_signed(&key)?.pem().as_bytes())?;
            key
        }
    };
    let authority = read(&certificate_path)?.ok_or_else(|| damaged(&certificate_path, "it vanished"))?;
    let issuer = Issuer::new(authority_params(), key);
    let server_key = KeyPair::generate()?;
    let certificate = server_params(advertised)?.signed_by(&server_key, &issuer)?;
    let token_path = directory.join("token");
    let token = match read(&token_path)?.map(|token| token.trim().to_owned()) {
        Some(token) if token.len() >= TOKEN_BYTES => token,
        Some(_) => return Err(damaged(&token_path, "the token is too short")),
        None => {
            let token: String = rand::random::<[u8; TOKEN_BYTES]>().iter().map(|byte| format!("{byte:02x}")).collect();
            write_private(&token_path, token.as_bytes())?;
            token
        }
    };
    Ok(Identity { authority, certificate: certificate.pem(), key: server_key.serialize_pem(), token })
}

fn damaged(path: &Path, reason: &str) -> Error {
    Error::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Err(damaged(path, "it is far too large")),
        Ok(_) => std::fs::read_to_string(path).map(Some).map_err(failed),
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The authority; the same at every start, so that certificates issued later lead to the one on the disk.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("cresset-cluster-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn server_params(advertised: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .map(str::to_owned)
            .to_vec();
    names.extend(["kubernetes.default.svc.cluster.local".to_owned(), KUBERNETES_IP.to_string()]);
    names.push(Host::local(KUBERNETES_IP.into()).name);
    names.push(advertised.to_owned());
    names.sort();
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = named("cresset-cluster-api");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
