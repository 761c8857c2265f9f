//! The names a client's certificate carries (subject alternative names, RFC 5280 section 4.2.1.6).

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Whether the certificate has one of `allowed` among its DNS names, addresses of mail, IP addresses and URIs.
pub(super) fn has_one_of(certificate: &CertificateDer<'_>, allowed: &[String]) -> bool {
    let Ok(certificate) = Certificate::from_der(certificate) else { return false };
    let Ok(Some((_, names))) = certificate.tbs_certificate().get_extension::<SubjectAltName>() else { return false };
    names.0.iter().filter_map(shown).any(|name| allowed.contains(&name))
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::Rfc822Name(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
            [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
            bytes => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_each_kind_are_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned(), "10.0.0.9".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let has = |name: &str| has_one_of(certificate.der(), &[name.to_owned()]);
        assert!(has("a.example") && has("10.0.0.9"));
        assert!(!has("b.example") && !has("example"));
    }
}
