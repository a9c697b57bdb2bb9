//! Changes of roles: the log decides who may change one, not the token (ADR 18).

use domain::users::user;
use domain::{Actor, Role};
use uuid::Uuid;

use super::Users;
use crate::authority::{MAX_ATTEMPTS, authority};
use crate::error::Error;
use crate::handler::{Done, Envelope};

impl Users {
    /// Changes the role of the user `id` on behalf of `token`, the subject of a token. The token of an
    /// administrator who was demoted after it was issued changes nothing.
    pub async fn change_role(
        &self,
        id: Uuid,
        role: Role,
        token: Actor,
        envelope: Envelope,
    ) -> Result<Done, Error<user::Rejection>> {
        let acting = user::stream(token.id);
        for _ in 0..MAX_ATTEMPTS {
            let (by, check) = authority(&self.accounts, token).await?;
            let mut envelope = envelope.clone();
            // A request names a stream once; the decider refuses a change of the own role.
            if token.id != id {
                envelope.also.push(check);
            }
            let command = user::Command::ChangeRole { id, role, by };
            match self.accounts.execute(&user::stream(id), command, envelope).await {
                Err(Error::Conflict(changed)) if changed == acting => {}
                done => return done,
            }
        }
        Err(Error::Contention(acting))
    }
}
