//! The keys of `http_config` within sections that have keys of their own.

/// Declares a configuration section that carries the keys of `http_config` among its own, and the methods
/// `http_client()` (gathers them) and `resolve_http_paths()` (makes its files relative to a directory). Keys in a second
/// pair of braces are printed after those of `http_config`.
///
/// A flattened struct would lose the line numbers of errors and the refusal of unknown keys.
#[macro_export]
macro_rules! with_http_client {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* } $({ $($after:tt)* })?) => {
        $(#[$meta])*
        pub struct $name {
            $($body)*
            /// User and password.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub basic_auth: Option<$crate::client::BasicAuth>,
            /// `Authorization` header.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub authorization: Option<$crate::client::Authorization>,
            /// Tokens of an authorization server.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub oauth2: Option<$crate::client::OAuth2>,
            /// Deprecated form of `authorization.credentials`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub bearer_token: Option<$crate::auth::Secret>,
            /// Deprecated form of `authorization.credentials_file`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub bearer_token_file: Option<String>,
            /// TLS.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub tls_config: Option<$crate::client::TlsConfig>,
            /// Whether redirects are followed; true if absent.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub follow_redirects: Option<bool>,
            /// Whether HTTP/2 is offered; true if absent.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub enable_http2: Option<bool>,
            /// Proxy for all requests.
            #[serde(
                skip_serializing_if = "String::is_empty",
                serialize_with = "net::auth::serialize_masked_url"
            )]
            pub proxy_url: String,
            /// Hosts that bypass it.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub no_proxy: String,
            /// Whether the environment names the proxy.
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            pub proxy_from_environment: bool,
            /// Headers sent to the proxy when it is asked for a tunnel.
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub proxy_connect_header: std::collections::BTreeMap<String, Vec<$crate::auth::Secret>>,
            /// Headers added to each request.
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub http_headers: std::collections::BTreeMap<String, $crate::client::HeaderValues>,
            $($($after)*)?
        }

        impl $name {
            /// The client configuration that the section's keys describe.
            pub fn http_client(&self) -> $crate::client::HttpClientConfig {
                let bearer = $crate::client::Authorization {
                    credentials: self.bearer_token.clone().unwrap_or_default(),
                    credentials_file: self.bearer_token_file.clone().unwrap_or_default(),
                    ..Default::default()
                };
                let has_bearer = self.bearer_token.is_some() || self.bearer_token_file.is_some();
                $crate::client::HttpClientConfig {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone().or(has_bearer.then_some(bearer)),
                    oauth2: self.oauth2.clone(),
                    tls_config: self.tls_config.clone().unwrap_or_default(),
                    follow_redirects: self.follow_redirects.unwrap_or(true),
                    enable_http2: self.enable_http2.unwrap_or(true),
                    proxy_url: self.proxy_url.clone(),
                    no_proxy: self.no_proxy.clone(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: self.proxy_connect_header.clone(),
                    http_headers: self.http_headers.clone(),
                    ..Default::default()
                }
            }

            /// Checks those keys, those that are deprecated too.
            ///
            /// # Errors
            /// [`ClientError::Config`]($crate::client::ClientError::Config) names the keys.
            pub fn validate_http_client(&self) -> Result<(), $crate::client::ClientError> {
                let fault = |text: &str| Err($crate::client::ClientError::Config(text.into()));
                let has_bearer = self.bearer_token.is_some() || self.bearer_token_file.is_some();
                if self.bearer_token.is_some() && self.bearer_token_file.is_some() {
                    return fault("at most one of bearer_token & bearer_token_file must be configured");
                }
                if has_bearer && (self.basic_auth.is_some() || self.oauth2.is_some()) {
                    return fault(
                        "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
                    );
                }
                if has_bearer && self.authorization.is_some() {
                    return fault("authorization is not compatible with bearer_token & bearer_token_file");
                }
                self.http_client().validate()
            }

            /// Makes relative files among those keys relative to `directory`.
            pub fn resolve_http_paths(&mut self, directory: &std::path::Path) {
                let mut config = self.http_client();
                config.resolve_paths(directory);
                self.basic_auth = config.basic_auth;
                self.authorization = config.authorization;
                self.oauth2 = config.oauth2;
                self.bearer_token = None;
                self.bearer_token_file = None;
                self.tls_config = self.tls_config.is_some().then_some(config.tls_config);
                self.http_headers = config.http_headers;
            }
        }
    };
}
