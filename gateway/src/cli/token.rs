//! `tributary token`: a bearer token, for curl.

use super::outcome::Failure;
use super::output;
use crate::config::{Span, Tokens};
use crate::tokens::{Keys, Role};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whom it speaks for
    #[arg(long, default_value = "admin")]
    subject: String,
    /// What it allows
    #[arg(long, default_value = "admin")]
    role: Role,
    /// How long it holds
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Span,
    #[command(flatten)]
    tokens: Tokens,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let keys = Keys::load(&args.tokens.signing_key_file)?;
    let token = keys.sign(&args.subject, args.role, args.ttl.0)?;
    keys.check(&token).map_err(|error| Failure::usage(vec![error.to_string()]))?;
    output::line(&token);
    Ok(())
}
