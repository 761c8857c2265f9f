//! AWS Signature Version 4.
//!
//! Reference: "Create a signed AWS API request" of the IAM User Guide.

use aws_lc_rs::hmac;
use net::auth::Secret;
use reqwest::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use reqwest::{Request, Url};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) access_key: String,
    pub(super) secret_key: Secret,
    /// Of credentials that end.
    pub(super) session_token: Option<Secret>,
}

/// For whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// Adds date, session token and signature to a request.
///
/// # Errors
/// If the URL has no host, or the credentials do not fit into a header.
pub(super) fn sign(
    request: &mut Request,
    credentials: &Credentials,
    scope: Scope<'_>,
    now: jiff::Timestamp,
) -> Result<(), String> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let host = host_of(request.url())?;
    let mut headers = vec![("host", host), ("x-amz-date", time.clone())];
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", token.reveal().to_owned()));
    }
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let signed_headers: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed_headers = signed_headers.join(";");
    let mut canonical = format!("{}\n{}\n{}\n", request.method(), path_of(request.url()), query_of(request.url()));
    for (name, value) in &headers {
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    canonical.push_str(&format!("\n{signed_headers}\n{}", hex(&Sha256::digest(body))));

    let date = now.strftime("%Y%m%d").to_string();
    let Scope { region, service } = scope;
    let place = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{time}\n{place}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let first = format!("AWS4{}", credentials.secret_key.reveal());
    let key = [date.as_str(), region, service, "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| keyed(&key, part.as_bytes()));
    let signature = hex(&keyed(&key, to_sign.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{place}, SignedHeaders={signed_headers}, Signature={signature}",
        credentials.access_key
    );
    let invalid = |_| "AWS credentials are no valid header value".to_owned();
    let mut authorization = HeaderValue::from_str(&authorization).map_err(invalid)?;
    authorization.set_sensitive(true);
    let own = request.headers_mut();
    own.insert(AUTHORIZATION, authorization);
    for (name, value) in &headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        if name != HOST {
            let mut value = HeaderValue::from_str(value).map_err(invalid)?;
            value.set_sensitive(name == "x-amz-security-token");
            own.insert(name, value);
        }
    }
    Ok(())
}

/// Host and port as the `Host` header has them.
fn host_of(url: &Url) -> Result<String, String> {
    let host = url.host_str().ok_or("the URL has no host")?;
    Ok(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The path, escaped once more than it is.
fn path_of(url: &Url) -> String {
    let escaped: Vec<String> = url.path().split('/').map(escaped).collect();
    escaped.join("/")
}

/// Parameters, sorted.
fn query_of(url: &Url) -> String {
    let mut pairs: Vec<String> =
        url.query_pairs().map(|(name, value)| format!("{}={}", escaped(&name), escaped(&value))).collect();
    pairs.sort();
    pairs.join("&")
}

/// All but RFC 3986's unreserved characters as their bytes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    /// Cases of Amazon's test suite for signers (`get-vanilla`, `get-vanilla-query-order-key-case`).
    #[test]
    fn requests_are_signed_as_amazon_signs_them() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let scope = Scope { region: "us-east-1", service: "service" };
        let now: jiff::Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        for (url, signature) in [
            ("https://example.amazonaws.com/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
        ] {
            let mut request = Request::new(Method::GET, url.parse().unwrap());
            sign(&mut request, &credentials, scope, now).unwrap();
            assert_eq!(request.headers()["x-amz-date"], "20150830T123600Z");
            assert_eq!(
                request.headers()[AUTHORIZATION],
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
            assert!(!format!("{request:?}").contains("Signature"), "a signature is not shown");
        }
    }

    #[test]
    fn paths_are_escaped_twice() {
        let url: Url = "https://a.example/workspaces/ws-1/a%20b/api".parse().unwrap();
        assert_eq!(path_of(&url), "/workspaces/ws-1/a%2520b/api");
    }
}
