//! What is asked of targets, and what hostile ones can do: each is bounded by a limit with a name.

use std::io::Write;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use net::client::HttpClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::{DEFAULT_PROTOCOLS, GlobalConfig, ScrapeConfig};

#[test]
fn asks_for_protocols_in_order() {
    assert_eq!(
        accept_header(&DEFAULT_PROTOCOLS, EscapingScheme::AllowUtf8).to_str().unwrap(),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    );
}

async fn serve(app: Router) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Url::parse(&format!("http://{address}/")).unwrap()
}

/// Fetches under a limit of 1,000 bytes.
async fn fetch(url: &Url) -> Result<Page, FetchError> {
    let config =
        ScrapeConfig { job_name: "j".into(), body_size_limit: model::bytes::ByteSize(1000), ..ScrapeConfig::default() };
    let job = config.resolve(&GlobalConfig::default()).unwrap();
    let client = HttpClient::new(HttpClientConfig::default(), "test").await.unwrap();
    Fetcher::new(&job).fetch(&client, url, Duration::from_secs(10)).await
}

fn text(body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "text/plain")], body.into()).into_response()
}

fn gzipped(text: &[u8]) -> Response {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    let body = encoder.finish().unwrap();
    ([(CONTENT_TYPE, "text/plain"), (CONTENT_ENCODING, "gzip")], body).into_response()
}

#[tokio::test]
async fn a_body_of_the_limits_size_is_read_whole() {
    let app = Router::new()
        .route("/plain", get(|| async { text(vec![b'\n'; 1000]) }))
        .route("/gzip", get(|| async { gzipped(&[b'\n'; 1000]) }));
    let base = serve(app).await;
    for path in ["plain", "gzip"] {
        assert_eq!(fetch(&base.join(path).unwrap()).await.unwrap().body.len(), 1000, "{path}");
    }
}

#[tokio::test]
async fn endless_bodies_and_gzip_bombs_end_at_the_limit() {
    let endless =
        || async { text(Body::from_stream(futures_util::stream::repeat(Ok::<_, std::convert::Infallible>("\n\n\n")))) };
    let app = Router::new()
        .route("/endless", get(endless))
        .route("/larger", get(|| async { text(vec![b'\n'; 1001]) }))
        // A thousandfold of what is sent.
        .route("/bomb", get(|| async { gzipped(&vec![b'\n'; 900_000]) }))
        .route("/torn", get(|| async { ([(CONTENT_TYPE, "text/plain"), (CONTENT_ENCODING, "gzip")], "torn") }));
    let base = serve(app).await;
    for path in ["endless", "larger", "bomb"] {
        let error = fetch(&base.join(path).unwrap()).await.unwrap_err();
        assert!(matches!(error, FetchError::BodyTooLarge), "{path}: {error}");
    }
    assert!(matches!(fetch(&base.join("torn").unwrap()).await, Err(FetchError::Compression(_))));
}

/// Says this much and then nothing, ever.
async fn fall_silent_after(said: &'static [u8]) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _asked = stream.read(&mut [0; 1024]).await;
            let _written = stream.write_all(said).await;
            kept.push(stream);
        }
    });
    Url::parse(&format!("http://{address}/")).unwrap()
}

/// Time passes by itself here as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn who_falls_silent_costs_no_more_than_the_timeout() {
    for said in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-ty",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\na 1\n",
    ] {
        let url = fall_silent_after(said).await;
        let started = tokio::time::Instant::now();
        let fetched = fetch(&url).await;
        assert!(matches!(fetched, Err(FetchError::Timeout)), "{said:?}: {fetched:?}");
        assert_eq!(started.elapsed().as_secs(), 10, "{said:?}");
    }
}

#[tokio::test]
async fn redirect_loops_and_strange_answers_are_errors() {
    let app = Router::new()
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/html", get(|| async { ([(CONTENT_TYPE, "text/html")], "<html>") }))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/blank", get(|| async { Response::new(Body::from("a 1\n")) }));
    let base = serve(app).await;
    for (path, expected) in [
        ("loop", "stopped after 10 redirects"),
        (
            "html",
            "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target",
        ),
        ("gone", "server returned HTTP status 404 Not Found"),
        (
            "blank",
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target",
        ),
    ] {
        let error = fetch(&base.join(path).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{path}: {error}");
    }
}
