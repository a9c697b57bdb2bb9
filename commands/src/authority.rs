//! The authority of an actor as the log knows it. A token outlives a demotion by minutes; what an
//! administrator does with it would outlive the token. So the actor's own stream is loaded, and the
//! command is appended on the condition that the stream is still at that version (ADR 18).

use domain::Actor;
use domain::users::{Authority, User, user};
use eventstore::{ExpectedVersion, StreamAppend};
use uuid::Uuid;

use crate::error::LoadError;
use crate::handler::Handler;

/// Most decisions of one command: each one but the last met a change of the actor's stream.
pub(crate) const MAX_ATTEMPTS: usize = 16;

/// Loads the streams of actors.
pub(crate) type Users = Handler<User>;

/// Returns whether a user with this id is registered. Users are never removed.
pub(crate) async fn is_registered(users: &Users, id: Uuid) -> Result<bool, LoadError> {
    let loaded = users.load(&user::stream(id)).await?;
    Ok(matches!(loaded.state, User::Registered(_)))
}

/// Returns the authority of `token`, the subject of a token, and the check of it for the append.
pub(crate) async fn authority(
    users: &Users,
    token: Actor,
) -> Result<(Authority, StreamAppend), LoadError> {
    let stream = user::stream(token.id);
    let loaded = users.load(&stream).await?;
    let expected = ExpectedVersion::Exact(loaded.version);
    let check = StreamAppend { stream, expected, events: Vec::new() };
    Ok((Authority::of(token, &loaded.state), check))
}
