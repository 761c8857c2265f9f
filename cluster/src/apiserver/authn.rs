//! Who is asking: bearer tokens.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use crate::api::status::Failure;

/// Knows the tokens. The token itself is not kept, only its digest; `Debug` shows nothing.
pub struct Authenticator {
    admin: [u8; 32],
}

impl Authenticator {
    /// Admits the bearer of this token as administrator.
    pub fn new(admin_token: &str) -> Self {
        Self { admin: digest(admin_token) }
    }

    /// Admits or refuses. Everyone admitted may do everything: roles are a later step.
    pub(super) fn authenticate(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let credentials = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = credentials.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            // Digests are compared, in constant time: neither length nor content of the token leaks.
            Some(token) if bool::from(digest(token).ct_eq(&self.admin)) => Ok(()),
            _ => Err(Failure::unauthorized()),
        }
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

fn digest(token: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(token.as_bytes()).into()
}
