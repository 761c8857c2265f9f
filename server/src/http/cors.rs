//! Cross-origin requests, as `--web.cors.origin` allows them.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::pattern::Pattern;

/// Which origins are welcome.
#[derive(Debug, Clone)]
pub(super) struct Origins(Pattern);

impl Origins {
    pub(super) fn new(pattern: Pattern) -> Self {
        Self(pattern)
    }

    /// What an answer to a request from `origin` says; nothing about origins if there is none.
    fn headers(&self, origin: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(origin) = origin else { return headers };
        let fixed: [(HeaderName, &'static str); 4] = [
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
            (header::VARY, "Origin"),
        ];
        headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        if self.0.as_str() == ".*" {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else if origin.to_str().is_ok_and(|text| self.0.is_match(text)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        headers
    }
}

/// Answers preflight requests and marks all other answers.
pub(super) async fn mark(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let headers = origins.headers(request.headers().get(header::ORIGIN));
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().extend(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_welcome_origins_are_named() {
        let allowed = |pattern: &str, origin: &str| {
            let headers =
                Origins::new(Pattern::new(pattern).unwrap()).headers(HeaderValue::from_str(origin).ok().as_ref());
            headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(allowed(".*", "https://a.example").as_deref(), Some("*"));
        assert_eq!(allowed(r"https://.*\.example", "https://a.example").as_deref(), Some("https://a.example"));
        assert_eq!(allowed(r"https://.*\.example", "https://a.example.evil"), None);
        assert!(Origins::new(Pattern::new(".*").unwrap()).headers(None).is_empty());
    }
}
