//! What an application with a certificate says of itself, signed with the certificate's key.
//!
//! Reference: "Microsoft identity platform application authentication certificate credentials".

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use net::auth::Secret;
use net::client::OAuth2;
use net::tls::Pem;
use serde_json::{Value, json};

use crate::config::AzureIdentity;

/// A statement for the authority at `token_url`, good for as long as [`OAuth2`]'s are.
///
/// # Errors
/// If a file cannot be read or is not what it should be; without its content.
pub(super) async fn assertion(certified: &AzureIdentity, token_url: &str) -> Result<String, String> {
    let AzureIdentity { certificate_path, certificate_key_path, .. } = certified;
    let mut pem = read(certificate_path).await?;
    let chain = Pem::Memory(pem.reveal().as_bytes().to_vec()).certificates();
    let unusable = || format!("azuread: certificate: {certificate_path}: expected certificates in PEM, found none");
    let chain = chain.map_err(|_| unusable())?;
    let own = chain.first().ok_or_else(unusable)?;
    let mut header = BTreeMap::from([
        ("x5t", Value::from(URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, own)))),
        ("x5t#S256", Value::from(URL_SAFE_NO_PAD.encode(digest(&SHA256, own)))),
    ]);
    if certified.send_certificate_chain {
        header.insert("x5c", chain.iter().map(|der| Value::from(STANDARD.encode(der))).collect());
    }
    if !certificate_key_path.is_empty() {
        pem = read(certificate_key_path).await?;
    }
    let number: u128 = rand::random();
    let signed = OAuth2 {
        client_id: certified.client_id.clone(),
        audience: token_url.to_owned(),
        client_certificate_key: pem,
        claims: BTreeMap::from([
            ("jti".to_owned(), json!(format!("{number:032x}"))),
            ("nbf".to_owned(), json!(jiff::Timestamp::now().as_second())),
        ]),
        ..OAuth2::default()
    };
    signed.signed_assertion(&header).await.map_err(|error| format!("azuread: certificate: {error}"))
}

async fn read(path: &str) -> Result<Secret, String> {
    let text = tokio::fs::read_to_string(path).await;
    text.map(Secret::new).map_err(|error| format!("azuread: certificate: {path}: {error}"))
}
