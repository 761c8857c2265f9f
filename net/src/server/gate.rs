//! What stands before a server's router: TLS, users with passwords, tokens, fixed headers; replaced while it runs when
//! their files change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;
use axum::http::{Extensions, HeaderMap, HeaderValue, Request, header};
use base64::Engine as _;
use parking_lot::Mutex;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Outcomes of password checks that are remembered; each check costs a good part of a tenth of a second.
const REMEMBERED_MAX: usize = 100;
/// Checked where a user is not known, so that the time taken does not tell who is. A hash of no password anybody has.
const NOBODY: &str = "$2b$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// A checked configuration.
#[derive(Debug)]
pub struct Active {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) http2: bool,
    pub(super) headers: HeaderMap,
    pub(super) users: Users,
    /// Who else is welcome. With tokens, be there none, nobody is who shows neither one nor a password.
    pub tokens: Option<Tokens>,
    /// Names of which a client's certificate must have one; all are welcome if there are none.
    pub(super) allowed_names: Vec<String>,
}

impl Default for Active {
    /// Nothing stands before the router.
    fn default() -> Self {
        Self {
            tls: None,
            http2: true,
            headers: HeaderMap::new(),
            users: Users::default(),
            tokens: None,
            allowed_names: Vec::new(),
        }
    }
}

/// Users and the bcrypt hashes of their passwords. `Debug` shows neither.
#[derive(Default)]
pub struct Users {
    hashes: BTreeMap<String, String>,
    /// By digest of user, hash and password, so that no password is kept.
    remembered: Mutex<HashMap<[u8; 32], bool>>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} users", self.hashes.len())
    }
}

impl Users {
    pub(super) fn new(hashes: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { hashes: hashes.into_iter().collect(), remembered: Mutex::default() }
    }

    /// Whether everybody is welcome.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the `Authorization` header names a user and their password.
    pub(super) async fn admits(self: &Arc<Self>, authorization: Option<&HeaderValue>) -> bool {
        let Some((user, password)) = authorization.and_then(credentials) else { return false };
        let known = self.hashes.get(&user).cloned();
        let hash = known.clone().unwrap_or_else(|| NOBODY.to_owned());
        let key = digest_of([user.as_bytes(), hash.as_bytes(), password.as_bytes()]);
        if let Some(outcome) = self.remembered.lock().get(&key) {
            return *outcome;
        }
        let check = tokio::task::spawn_blocking(move || bcrypt::verify(&password, &hash).unwrap_or(false));
        let is_right = check.await.unwrap_or(false) && known.is_some();
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(key, is_right);
        is_right
    }
}

/// The SHA-256 digest of a token.
pub type Digest = [u8; 32];

/// Tokens by digest, each with what a request that carries it is given along. `Debug` shows none.
#[derive(Default)]
pub struct Tokens(HashMap<Digest, Extensions>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Adds a token; its requests get `extension`. Says whether it is new.
    pub fn insert<T: Clone + Send + Sync + 'static>(&mut self, digest: Digest, extension: T) -> bool {
        let mut extensions = Extensions::new();
        extensions.insert(extension);
        self.0.insert(digest, extensions).is_none()
    }

    /// What a bearer token (RFC 6750) that is known gives along.
    fn find(&self, authorization: Option<&HeaderValue>) -> Option<&Extensions> {
        let (scheme, token) = authorization?.to_str().ok()?.split_once(' ')?;
        let digest = digest::digest(&digest::SHA256, token.trim().as_bytes());
        // Time tells of digests only, which tell nothing of tokens.
        self.0.get(digest.as_ref()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    }
}

/// Each part goes in with its length: no two lists of parts have one digest.
fn digest_of(parts: [&[u8]; 3]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// User and password of a basic `Authorization` header (RFC 7617).
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let text = header.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(bytes).ok()?;
    let (user, password) = decoded.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (user.to_owned(), password.to_owned()))
}

/// When the files of a configuration were last changed; `None` for one that is not there.
pub type Fingerprint = Vec<Option<SystemTime>>;

/// Where configurations come from.
pub trait Source: Send + Sync {
    /// Changes when the configuration may have changed. Cheap: asked often.
    fn fingerprint(&self) -> Fingerprint;
    /// Reads the configuration.
    ///
    /// # Errors
    /// What is wrong, with file and place; the one in force stays.
    fn load(&self) -> Result<Active, String>;
}

/// A configuration that follows its files.
pub struct Gate {
    source: Box<dyn Source>,
    state: Mutex<State>,
}

struct State {
    active: Arc<ActiveParts>,
    fingerprint: Fingerprint,
    looked: Instant,
}

/// What is in force, shared by requests.
#[derive(Debug)]
pub(super) struct ActiveParts {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) http2: bool,
    pub(super) headers: HeaderMap,
    users: Arc<Users>,
    tokens: Option<Tokens>,
    pub(super) allowed_names: Vec<String>,
}

impl From<Active> for ActiveParts {
    fn from(active: Active) -> Self {
        let Active { tls, http2, headers, users, tokens, allowed_names } = active;
        Self { tls, http2, headers, users: Arc::new(users), tokens, allowed_names }
    }
}

impl ActiveParts {
    /// Whether a request may go on: everybody's may where neither users nor tokens are configured.
    pub(super) async fn admits<B>(&self, request: &mut Request<B>) -> bool {
        let authorization = request.headers().get(header::AUTHORIZATION).cloned();
        let found = self.tokens.as_ref().and_then(|tokens| tokens.find(authorization.as_ref()));
        if let Some(extensions) = found {
            request.extensions_mut().extend(extensions.clone());
            return true;
        }
        match self.users.is_empty() {
            true => self.tokens.is_none(),
            false => self.users.admits(authorization.as_ref()).await,
        }
    }

    /// What a request that may not go on is answered with.
    pub(super) fn refusal(&self) -> axum::response::Response {
        use axum::response::IntoResponse as _;
        let challenge = if self.users.is_empty() { "Bearer" } else { "Basic" };
        (axum::http::StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], "Unauthorized\n")
            .into_response()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("active", &self.state.lock().active).finish_non_exhaustive()
    }
}

impl Gate {
    /// Loads the first configuration.
    ///
    /// # Errors
    /// If it is wrong.
    pub fn open(source: Box<dyn Source>) -> Result<Self, String> {
        let fingerprint = source.fingerprint();
        let active = Arc::new(ActiveParts::from(source.load()?));
        Ok(Self { source, state: Mutex::new(State { active, fingerprint, looked: Instant::now() }) })
    }

    /// What is in force. Looks after the files now and then; reads a few small ones when they have changed.
    pub(super) fn current(&self) -> Arc<ActiveParts> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let fingerprint = self.source.fingerprint();
            if fingerprint != state.fingerprint {
                state.fingerprint = fingerprint;
                match self.source.load() {
                    Ok(active) => {
                        tracing::info!("web configuration changed");
                        state.active = Arc::new(active.into());
                    }
                    Err(error) => {
                        tracing::error!(error, "web configuration refused; the one before stays in force");
                    }
                }
            }
        }
        Arc::clone(&state.active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tokens_give_along_what_is_theirs() {
        let mut tokens = Tokens::default();
        let digest = |token: &str| digest_array(token);
        assert!(tokens.insert(digest("secret"), 7_u32) && !tokens.insert(digest("secret"), 8_u32));
        let hash = bcrypt::hash("right", 4).unwrap();
        let users = Users::new([("ann".to_owned(), hash)]);
        let admitted = async |parts: &ActiveParts, authorization: &str| {
            let mut request = Request::builder().header(header::AUTHORIZATION, authorization).body(()).unwrap();
            parts.admits(&mut request).await.then(|| request.extensions().get::<u32>().copied())
        };
        let both: ActiveParts = Active { tokens: Some(tokens), users, ..Active::default() }.into();
        assert_eq!(admitted(&both, "Bearer secret").await, Some(Some(8)));
        assert_eq!(admitted(&both, "Bearer other").await, None);
        assert_eq!(admitted(&both, "Basic secret").await, None);
        assert_eq!(admitted(&both, "Basic YW5uOnJpZ2h0").await, Some(None), "ann:right");
        let mut tokens = Tokens::default();
        tokens.insert(digest("secret"), 1_u32);
        let alone: ActiveParts = Active { tokens: Some(tokens), ..Active::default() }.into();
        assert_eq!(admitted(&alone, "").await, None);
        let open: ActiveParts = Active::default().into();
        assert_eq!(admitted(&open, "Bearer any").await, Some(None));
    }

    fn digest_array(token: &str) -> Digest {
        digest::digest(&digest::SHA256, token.as_bytes()).as_ref().try_into().unwrap()
    }

    #[tokio::test]
    async fn passwords_are_checked_and_remembered() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let users = Arc::new(Users::new([("ann".to_owned(), hash)]));
        let header = |text: &str| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            HeaderValue::from_str(&format!("Basic {encoded}")).unwrap()
        };
        for _ in 0..2 {
            assert!(users.admits(Some(&header("ann:right"))).await);
            assert!(!users.admits(Some(&header("ann:wrong"))).await);
            assert!(!users.admits(Some(&header("bob:right"))).await);
        }
        assert!(!users.admits(None).await);
        assert!(!users.admits(Some(&HeaderValue::from_static("Bearer x"))).await);
        assert_eq!(users.remembered.lock().len(), 3);
    }
}
