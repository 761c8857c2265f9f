//! TLS of our servers: certificate chain, key and client authorities from PEM, in files or in memory.
//!
//! The cryptographic provider is named explicitly (aws-lc-rs) and never taken from the process default, so that a
//! second provider somewhere in the dependency tree cannot make a start fail.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

/// The largest PEM input that is read, in bytes.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// Where PEM text comes from. `Debug` does not show the text, which may be a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file, read when the configuration is built.
    File(PathBuf),
    /// The text itself.
    Memory(Vec<u8>),
}

/// What a TLS server shows and asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain, leaf first.
    pub certificate: Pem,
    /// The private key of the leaf.
    pub key: Pem,
    /// Whether and against which authorities clients are authenticated.
    pub client: ClientCertificate,
}

/// How a TLS server treats client certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is asked for.
    #[default]
    Ignored,
    /// One is verified against these authorities if the client shows one.
    Optional(Pem),
    /// One that these authorities signed is demanded.
    Required(Pem),
    /// Any is taken, whoever signed it.
    Unverified {
        /// Whether there must be one.
        demanded: bool,
    },
}

/// What a TLS server speaks.
#[derive(Debug)]
pub struct TlsLimits {
    /// Versions.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Cipher suites; all good ones if none is named.
    pub cipher_suites: Vec<rustls::SupportedCipherSuite>,
    /// Groups of key exchange; all good ones if none is named.
    pub groups: Vec<&'static dyn rustls::crypto::SupportedKxGroup>,
    /// Whether the server's order of suites counts.
    pub server_prefers: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

impl Default for TlsLimits {
    fn default() -> Self {
        Self {
            versions: rustls::DEFAULT_VERSIONS.to_vec(),
            cipher_suites: Vec::new(),
            groups: Vec::new(),
            server_prefers: true,
            http2: true,
        }
    }
}

/// Why a TLS configuration could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// PEM text is larger than [`PEM_BYTES_MAX`].
    #[error("{place}: larger than {PEM_BYTES_MAX} bytes")]
    TooLarge {
        /// The file, or "PEM in memory".
        place: String,
    },
    /// The text is not the PEM that was expected.
    #[error("{place}: expected {expected}: {source}")]
    Pem {
        /// The file, or "PEM in memory".
        place: String,
        /// What should have been there.
        expected: &'static str,
        /// What the parser said.
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate, key or authority is well-formed but not usable.
    #[error("{place}: {source}")]
    Unusable {
        /// The file, or "PEM in memory".
        place: String,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The authorities for client certificates cannot be used.
    #[error("{place}: {source}")]
    ClientAuthorities {
        /// The file, or "PEM in memory".
        place: String,
        /// What rustls said.
        source: rustls::server::VerifierBuilderError,
    },
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place())
    }
}

impl Pem {
    /// The text of the source.
    pub fn read(&self) -> Result<Vec<u8>, TlsError> {
        let path = match self {
            Pem::Memory(text) => return Ok(text.clone()),
            Pem::File(path) => path,
        };
        let failed = |source| TlsError::Read { path: path.clone(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > PEM_BYTES_MAX {
            return Err(TlsError::TooLarge { place: self.place() });
        }
        std::fs::read(path).map_err(failed)
    }

    fn place(&self) -> String {
        match self {
            Pem::File(path) => path.display().to_string(),
            Pem::Memory(_) => "PEM in memory".to_owned(),
        }
    }

    /// The certificates in it, in their order; at least one.
    ///
    /// # Errors
    /// If it cannot be read or has none.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let failed = |source| TlsError::Pem { place: self.place(), expected: "a CERTIFICATE", source };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.read()?).collect::<Result<_, _>>().map_err(failed)?;
        match chain.is_empty() {
            true => Err(failed(rustls::pki_types::pem::Error::NoItemsFound)),
            false => Ok(chain),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(|source| TlsError::Pem {
            place: self.place(),
            expected: "a PRIVATE KEY",
            source,
        })
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|source| TlsError::Unusable { place: self.place(), source })?;
        }
        Ok(roots)
    }
}

/// The provider of all cryptography in this house.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Builds the rustls configuration of a server. Reads files: call it off the hot path.
pub fn server_config(tls: &ServerTls, limits: &TlsLimits) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = limits.provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&limits.versions)
        .map_err(|source| TlsError::Unusable { place: "protocol versions".to_owned(), source })?;
    let verifier = |authorities: &Pem, demanded: bool| {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(authorities.roots()?), Arc::clone(&provider));
        let builder = if demanded { builder } else { builder.allow_unauthenticated() };
        builder.build().map_err(|source| TlsError::ClientAuthorities { place: authorities.place(), source })
    };
    let builder = match &tls.client {
        ClientCertificate::Ignored => builder.with_no_client_auth(),
        ClientCertificate::Optional(authorities) => builder.with_client_cert_verifier(verifier(authorities, false)?),
        ClientCertificate::Required(authorities) => builder.with_client_cert_verifier(verifier(authorities, true)?),
        ClientCertificate::Unverified { demanded } => {
            builder.with_client_cert_verifier(Arc::new(AnyClient { demanded: *demanded, provider }))
        }
    };
    let mut config = builder
        .with_single_cert(tls.certificate.certificates()?, tls.key.private_key()?)
        .map_err(|source| TlsError::Unusable { place: tls.certificate.place(), source })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if limits.http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    config.ignore_client_order = limits.server_prefers;
    Ok(Arc::new(config))
}

impl TlsLimits {
    fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if !self.cipher_suites.is_empty() {
            provider.cipher_suites.clone_from(&self.cipher_suites);
        }
        if !self.groups.is_empty() {
            provider.kx_groups.clone_from(&self.groups);
        }
        Arc::new(provider)
    }
}

/// Takes any client certificate whose key the client has: who signed it is not asked.
#[derive(Debug)]
struct AnyClient {
    demanded: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.demanded
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn memory(text: &str) -> Pem {
        Pem::Memory(text.as_bytes().to_vec())
    }

    #[test]
    fn builds_from_memory_and_offers_both_protocols() {
        let (certificate, key) = pair();
        let client = ClientCertificate::Optional(memory(&certificate));
        let config = server_config(
            &ServerTls { certificate: memory(&certificate), key: memory(&key), client },
            &TlsLimits::default(),
        )
        .unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn says_which_part_is_wrong() {
        let (certificate, key) = pair();
        let error = |certificate: Pem, key: Pem| {
            server_config(&ServerTls { certificate, key, client: ClientCertificate::Ignored }, &TlsLimits::default())
                .unwrap_err()
                .to_string()
        };
        assert!(error(memory(""), memory(&key)).contains("expected a CERTIFICATE"));
        assert!(error(memory(&certificate), memory("nonsense")).contains("expected a PRIVATE KEY"));
        let missing = error(Pem::File("/nonexistent/tls.crt".into()), memory(&key));
        assert!(missing.starts_with("cannot read /nonexistent/tls.crt"), "{missing}");
        let (_, other) = pair();
        assert!(error(memory(&certificate), memory(&other)).contains("PEM in memory"), "key of another certificate");
    }

    #[test]
    fn debug_hides_the_text() {
        assert!(!format!("{:?}", memory("secret")).contains("secret"));
    }
}
