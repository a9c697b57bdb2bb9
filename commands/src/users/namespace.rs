//! Device namespaces: given and taken by administrators, claimed once.

use domain::Actor;
use domain::users::namespace::{self, Command};
use domain::users::{Namespace, NamespaceClaim, User, user};
use eventsourcing::{Decider, StreamId};
use eventstore::{ExpectedVersion, NewEvent, NewReceipt, StreamAppend};
use uuid::Uuid;

use super::Users;
use super::error::Error;
use crate::Loaded;
use crate::authority::{MAX_ATTEMPTS, authority};
use crate::handler::{Done, Envelope};

impl Users {
    /// Gives the user `id` a device namespace, or takes it away, on behalf of `token`, the subject of a
    /// token. The append claims the new namespace and releases the old one, so of two concurrent requests
    /// for one namespace one is rejected; and it depends on the role of the actor in the log (ADR 18).
    pub async fn change_namespace(
        &self,
        id: Uuid,
        namespace: Option<Namespace>,
        token: Actor,
        envelope: Envelope,
    ) -> Result<Done, Error> {
        let target = user::stream(id);
        for _ in 0..MAX_ATTEMPTS {
            let (by, check) = authority(&self.accounts, token).await?;
            let Loaded { state, version, .. } = self.accounts.load(&target).await?;
            let held = match state {
                User::Nobody => None,
                User::Registered(account) => account.namespace,
            };
            let mut envelope = envelope.clone();
            if token.id == id {
                // The role and the namespace are in one stream.
                envelope.expected = envelope.expected.or_else(|| Some(vec![version]));
            } else {
                envelope.also.push(check);
            }
            if by.actor.role == domain::Role::Admin && held != namespace {
                for (name, command) in [
                    (namespace.as_ref(), Command::Claim { user_id: id }),
                    (held.as_ref(), Command::Release { user_id: id }),
                ] {
                    let Some(name) = name else { continue };
                    match self.claim(name, command).await {
                        Ok(append) => envelope.also.extend(append),
                        Err(error) => return self.refused(&target, error, envelope.receipt).await,
                    }
                }
            }
            let change = user::Command::ChangeNamespace { namespace: namespace.clone(), by };
            match self.accounts.execute(&target, change, envelope).await {
                Err(crate::Error::Conflict(changed)) if changed != target => {}
                done => {
                    let done = done?;
                    // A claim may be the last event, and a repetition knows that one only.
                    let position = done.accepted_at.unwrap_or(done.position);
                    return Ok(Done { position, ..done });
                }
            }
        }
        Err(crate::Error::<user::Rejection>::Contention(target).into())
    }

    /// Returns `error`, unless the request was accepted before under its idempotency key: then the stored
    /// response counts.
    async fn refused(
        &self,
        target: &StreamId,
        error: Error,
        receipt: Option<NewReceipt>,
    ) -> Result<Done, Error> {
        let Some(new) = receipt else { return Err(error) };
        let known = self.store.receipt(&new.key).await;
        match known.map_err(crate::Error::<user::Rejection>::from)? {
            None => Err(error),
            Some(known) if known.fingerprint == new.fingerprint => {
                // The claim was part of the append, so its last event is the last of the request.
                let position = known.position;
                let done = self.accounts.replay(target, known, &[]).await;
                Ok(Done { position, ..done.map_err(crate::Error::<user::Rejection>::from)? })
            }
            Some(_) => Err(crate::Error::<user::Rejection>::KeyReused.into()),
        }
    }

    /// The append of a command to the stream of a namespace; `None` if nothing follows.
    async fn claim(
        &self,
        name: &Namespace,
        command: Command,
    ) -> Result<Option<StreamAppend>, Error> {
        let stream = namespace::stream(name);
        let Loaded { state, version, .. } = self.namespaces.load(&stream).await?;
        let events = NamespaceClaim::decide(&state, command)?;
        let events: Vec<_> = events.iter().map(NewEvent::new).collect::<Result<_, _>>()?;
        let append = StreamAppend { stream, expected: ExpectedVersion::Exact(version), events };
        Ok(Some(append).filter(|append| !append.events.is_empty()))
    }
}
