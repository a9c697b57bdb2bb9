//! Whether a deployment may use a stream.

use async_nats::jetstream::stream::Config;
use uuid::Uuid;

use crate::bus::error::BusError;
use crate::bus::owner::Owner;

/// How a stream relates to an owner that may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The stream belongs to the owner.
    Ours,
    /// The stream names no owner: an earlier version or another program has created it.
    Unowned,
    /// The stream belongs to an earlier epoch of the deployment, or to a deployment that the owner
    /// takes over. Its messages are not the owner's.
    Outdated,
}

impl Owner {
    /// Returns how the stream with this configuration relates to this owner, which takes over the
    /// streams of the deployment `take_over`. Fails if the stream belongs to another deployment, or
    /// to a later epoch: then the log is an older copy.
    pub fn claim(self, config: &Config, take_over: Option<Uuid>) -> Result<Claim, BusError> {
        let stream = || config.name.clone();
        match Self::of(config) {
            None => Ok(Claim::Unowned),
            Some(theirs) if theirs == self => Ok(Claim::Ours),
            Some(theirs) if theirs.deployment == self.deployment => {
                if theirs.epoch > self.epoch {
                    return Err(BusError::LaterEpoch { stream: stream(), theirs, ours: self });
                }
                Ok(Claim::Outdated)
            }
            Some(theirs) if Some(theirs.deployment) == take_over => Ok(Claim::Outdated),
            Some(theirs) => Err(BusError::Owned { stream: stream(), theirs, ours: self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(deployment: u128, epoch: i64) -> Owner {
        Owner { deployment: Uuid::from_u128(deployment), epoch }
    }

    #[test]
    fn another_deployment_and_a_later_epoch_are_refused() {
        let config = owner(7, 3).mark(Config::default(), "");
        let claim = |owner: Owner, take_over| owner.claim(&config, take_over);
        assert!(matches!(claim(owner(7, 3), None), Ok(Claim::Ours)));
        assert!(matches!(claim(owner(7, 4), None), Ok(Claim::Outdated)));
        assert!(matches!(claim(owner(7, 2), None), Err(BusError::LaterEpoch { .. })));
        assert!(matches!(claim(owner(8, 3), None), Err(BusError::Owned { .. })));
        let other = Some(Uuid::from_u128(9));
        assert!(matches!(claim(owner(8, 3), other), Err(BusError::Owned { .. })));
        let taken = Some(Uuid::from_u128(7));
        assert!(matches!(claim(owner(8, 3), taken), Ok(Claim::Outdated)));
        let error = claim(owner(8, 3), None).unwrap_err().to_string();
        for id in [7, 8] {
            assert!(error.contains(&Uuid::from_u128(id).to_string()), "{error}");
        }
    }
}
