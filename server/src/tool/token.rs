//! `tool token`: API tokens for `--web.api-tokens.file`.

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{complain, say};
use crate::access::{Role, TokensFile};

/// What every token begins with, so that it is known where it should not be.
const PREFIX: &str = "cresset_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// Work on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make an API token: its entry for the file of tokens goes to standard output, the token itself, which is kept
    /// nowhere, to standard error
    Create(CreateFlags),
}

/// Flags of `token create`.
#[derive(Debug, Args)]
pub struct CreateFlags {
    /// What it allows. Can be specified multiple times
    #[arg(long = "role", required = true)]
    roles: Vec<Role>,
    /// A selector: the token sees only series that it accepts, e.g. {team="a"}
    #[arg(long)]
    matchers: Option<String>,
    /// When it ends to be valid, an RFC 3339 time
    #[arg(long)]
    expires: Option<String>,
    /// What it is called
    name: String,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    sha256: String,
    roles: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    matchers: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<&'a str>,
}

pub(super) fn run(TokenCommand::Create(flags): TokenCommand) -> Result<()> {
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()));
    let digest = Sha256::digest(token.as_bytes());
    let entry = Entry {
        name: &flags.name,
        sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        roles: flags.roles.iter().map(|role| role.as_str()).collect(),
        matchers: flags.matchers.as_deref(),
        expires: flags.expires.as_deref(),
    };
    let list = serde_saphyr::to_string(&[entry])?;
    // The server's own reader says what is wrong before anybody copies it.
    let whole = format!("tokens:\n{list}");
    let parsed: TokensFile = serde_saphyr::from_str(&whole)?;
    if let Err(error) = parsed.activate() {
        bail!(error);
    }
    say(list.trim_end());
    complain(&token);
    Ok(())
}
