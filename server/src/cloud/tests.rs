//! Providers that answer from memory.

use std::sync::{Arc, Mutex as StdMutex};

use axum::Router;
use axum::extract::{Request as Asked, State};
use axum::routing::any;
use reqwest::{Method, Request};

use super::*;

type Seen = Arc<StdMutex<Vec<String>>>;

/// A provider that answers everything with one body, and remembers what it was asked.
async fn provider(body: &'static str) -> (String, Seen) {
    let seen = Seen::default();
    let record = move |State(seen): State<Seen>, request: Asked| async move {
        let (parts, sent) = request.into_parts();
        let sent = axum::body::to_bytes(sent, 1 << 20).await.unwrap();
        seen.lock().unwrap().push(format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&sent)));
        body
    };
    let router = Router::new().fallback(any(record)).with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), seen)
}

async fn signed(section: &str) -> Result<Request, String> {
    let text = format!("url: https://receiver.example/api/v1/write\n{section}");
    let config: RemoteWriteConfig = serde_saphyr::from_str(&text).unwrap();
    let signer = Signer::new(&config)?.expect("a signer");
    let mut request = Request::new(Method::POST, "https://receiver.example/api/v1/write".parse().unwrap());
    *request.body_mut() = Some("body".into());
    signer.authenticate(&mut request).await?;
    // A second one comes from what is kept.
    signer.authenticate(&mut request).await?;
    Ok(request)
}

#[tokio::test]
async fn amazon_gets_signatures() {
    let request = signed("sigv4: {region: eu-west-1, access_key: AKID, secret_key: hidden}\n").await.unwrap();
    let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
    assert!(
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/") && authorization.contains("/eu-west-1/aps/")
    );
    let other = "sigv4: {region: eu-west-1, access_key: AKID, secret_key: hidden, service_name: es}\n";
    assert!(signed(other).await.unwrap().headers()[AUTHORIZATION].to_str().unwrap().contains("/eu-west-1/es/"));
    let error = signed("sigv4: {region: eu-west-1, access_key: AKID}\n").await.unwrap_err();
    assert_eq!(error, "sigv4: must provide both access_key and secret_key, or neither");
}

#[tokio::test]
async fn google_gets_tokens_of_a_key() {
    let (url, seen) = provider(r#"{"access_token":"secret-token","expires_in":3600}"#).await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    let account = serde_json::json!({"type": "service_account", "client_email": "me@example.iam",
        "private_key": key.serialize_pem(), "private_key_id": "k1", "token_uri": format!("{url}/token")});
    std::fs::write(&file, account.to_string()).unwrap();
    let request = signed(&format!("google_iam: {{credentials_file: '{}'}}\n", file.display())).await.unwrap();
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer secret-token");
    assert!(!format!("{request:?}").contains("secret-token"));
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "the token is kept");
    let assertion = asked[0].split("assertion=").nth(1).unwrap();
    let claims = assertion.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["iss"], claims.get("sub")), (&"me@example.iam".into(), None));
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/monitoring.write");
    std::fs::write(&file, "{\"type\": \"other\", \"private_key\": \"hidden\"}").unwrap();
    let error = signed(&format!("google_iam: {{credentials_file: '{}'}}\n", file.display())).await.unwrap_err();
    assert!(error.contains("expected credentials of type") && !error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn azure_gets_tokens_of_a_secret_and_of_a_workload() {
    let (url, seen) = provider(r#"{"access_token":"secret-token","expires_in":"3600"}"#).await;
    let azure = |section: &str| {
        let section: AzureAdConfig = serde_saphyr::from_str(section).unwrap();
        let mut azure = Azure::new(&section).unwrap();
        azure.at(&url);
        azure
    };
    let of_secret = azure("oauth: {client_id: c, client_secret: hidden, tenant_id: t}\n");
    assert_eq!(of_secret.token().await.unwrap().reveal(), "secret-token");
    assert_eq!(of_secret.token().await.unwrap().reveal(), "secret-token");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "cluster-token\n").unwrap();
    let path = file.path().display();
    let of_workload = azure(&format!(
        "workload_identity: {{client_id: c, tenant_id: t, token_file_path: '{path}'}}\ncloud: AzureChina\n"
    ));
    of_workload.token().await.unwrap();
    let asked = seen.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[0]
            .starts_with("POST /t/oauth2/v2.0/token grant_type=client_credentials&client_id=c&client_secret=hidden")
    );
    assert!(asked[0].ends_with("scope=https%3A%2F%2Fmonitor.azure.com%2F%2F.default"), "{}", asked[0]);
    assert!(asked[1].contains("client_assertion=cluster-token&scope=https%3A%2F%2Fmonitor.azure.cn"), "{}", asked[1]);
    let wrong: AzureAdConfig = serde_saphyr::from_str("cloud: Moon\n").unwrap();
    assert!(Azure::new(&wrong).unwrap_err().contains("expected AzureChina"));
}

#[tokio::test]
async fn azure_gets_tokens_of_a_certificate() {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    let (url, seen) = provider(r#"{"access_token":"secret-token","expires_in":3600}"#).await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["app".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert_path, key_path) = (folder.path().join("app.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_path, certificate.pem()).unwrap();
    std::fs::write(&key_path, key.serialize_pem()).unwrap();
    let section: AzureAdConfig = serde_saphyr::from_str(&format!(
        "certificate: {{client_id: c, tenant_id: t, certificate_path: '{}', certificate_key_path: '{}', \
            send_certificate_chain: true}}\n",
        cert_path.display(),
        key_path.display()
    ))
    .unwrap();
    let mut azure = Azure::new(&section).unwrap();
    azure.at(&url);
    assert_eq!(azure.token().await.unwrap().reveal(), "secret-token");
    let asked = seen.lock().unwrap()[0].clone();
    assert!(asked.starts_with("POST /t/oauth2/v2.0/token grant_type=client_credentials&client_id=c&"), "{asked}");
    let assertion = asked.split("client_assertion=").nth(1).unwrap().split('&').next().unwrap();
    let parts: Vec<&str> = assertion.split('.').collect();
    let json =
        |part: &str| -> serde_json::Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let (header, claims) = (json(parts[0]), json(parts[1]));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    assert_eq!(header["x5t#S256"], URL_SAFE_NO_PAD.encode(digest));
    assert_eq!(header["x5c"][0], STANDARD.encode(certificate.der()));
    assert_eq!((&claims["iss"], &claims["sub"]), (&"c".into(), &"c".into()));
    assert_eq!(claims["aud"], format!("{url}/t/oauth2/v2.0/token"));
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key_raw());
    let signed = format!("{}.{}", parts[0], parts[1]);
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();
    // Files of another kind are told by their place, not by what they hold.
    std::fs::write(&cert_path, "hidden").unwrap();
    let error = Azure::new(&section).unwrap().token().await.unwrap_err();
    assert!(error.contains("app.pem: expected certificates in PEM") && !error.contains("hidden"), "{error}");
}

/// Alertmanagers behind Amazon's gateway get signatures of their service.
#[tokio::test]
async fn alerts_are_signed_for_amazon() {
    let (url, seen) = provider("{}").await;
    let section: SigV4Config =
        serde_saphyr::from_str("{region: eu-west-1, access_key: AKID, secret_key: hidden, service_name: aps}").unwrap();
    let signer = Signer::amazon(&section).unwrap();
    let mut request = Request::new(Method::POST, format!("{url}/api/v2/alerts").parse().unwrap());
    *request.body_mut() = Some("[]".into());
    signer.sign(&mut request).await.unwrap();
    assert!(request.headers()[AUTHORIZATION].to_str().unwrap().contains("Credential=AKID/"));
    reqwest::Client::new().execute(request).await.unwrap();
    assert_eq!(seen.lock().unwrap().len(), 1);
}
