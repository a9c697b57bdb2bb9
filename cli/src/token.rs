//! `tributary token`: signs a bearer token with the server's key.

use domain::Role;
use uuid::Uuid;

use super::outcome::Failure;
use super::output;
use gateway::config::{Span, Tokens};
use gateway::tokens::Keys;

/// Default subject: a user id that no user registers with.
pub(super) const OPERATOR: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Subject of the token: a user id, or the name of a program
    #[arg(long, default_value_t = OPERATOR.to_string())]
    subject: String,
    /// Role of the token: `user`, `operator` or `admin`
    #[arg(long, default_value = "admin")]
    role: Role,
    /// Lifetime of the token, with a unit: 30s, 15m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Span,
    #[command(flatten)]
    tokens: Tokens,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let keys = Keys::load(args.tokens.signing_key()?)?;
    let token = keys.sign(&args.subject, args.role, args.ttl.0)?;
    keys.check(&token).map_err(|error| Failure::usage(vec![error.to_string()]))?;
    output::line(&token)
}
