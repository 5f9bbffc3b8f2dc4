//! What may be done with a key, and when not. Pure: takes a key as it is and gives it as it becomes; the store keeps it.

use super::record::{
    DAY_MILLIS, KeyRecord, MAX_GRACE_MILLIS, MAX_LIVE_SECRETS, RESTORABLE_MILLIS, SecretVersion,
    StateNote, forgotten_at,
};
use super::spec::KeyState;
use crate::domain::consumer::Consumer;
use crate::domain::time::Timestamp;

/// Why an act is not possible: a stable code, and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActFault {
    /// It was ended for good.
    #[error("the key is revoked, which is final")]
    Revoked,
    /// It is deleted.
    #[error("the key is deleted; restore it first")]
    Deleted,
    /// Its time is over.
    #[error("the key has expired; give it a later `expires_at` first")]
    Expired,
    /// It is not deleted.
    #[error("the key is not deleted")]
    NotDeleted,
    /// It was deleted too long ago.
    #[error("the key was deleted more than 30 days ago")]
    RestoreOver,
    /// A grace out of bounds.
    #[error("a grace is 0 to 30 days")]
    Grace,
    /// Too many secrets at once.
    #[error("three secrets of this key are good already; retire one first")]
    TooManySecrets,
    /// No older secret is good.
    #[error("the key has no older secret that is still good")]
    NothingToRetire,
}

impl ActFault {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Revoked => "key_revoked",
            Self::Deleted => "key_deleted",
            Self::Expired => "key_expired",
            Self::NotDeleted | Self::RestoreOver => "not_restorable",
            Self::Grace => "invalid",
            Self::TooManySecrets => "too_many_secrets",
            Self::NothingToRetire => "nothing_to_retire",
        }
    }
}

/// Who acts, when, and why.
#[derive(Debug, Clone)]
pub struct Act {
    /// See [`crate::domain::actor::Actor::text`].
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// A code, such as `compromised`.
    pub reason: Option<String>,
    /// Words.
    pub text: Option<String>,
}

impl Act {
    fn note(self) -> StateNote {
        StateNote {
            reason: self.reason,
            text: self.text,
            by: self.by,
            at: self.at,
        }
    }
}

impl KeyRecord {
    fn lives(&self) -> Result<(), ActFault> {
        match self.state {
            KeyState::Active | KeyState::Disabled => Ok(()),
            KeyState::Revoked => Err(ActFault::Revoked),
            KeyState::Deleted => Err(ActFault::Deleted),
        }
    }

    /// Whether it may be edited.
    pub fn editable(&self) -> Result<(), ActFault> {
        match self.state {
            KeyState::Active | KeyState::Disabled | KeyState::Revoked => Ok(()),
            KeyState::Deleted => Err(ActFault::Deleted),
        }
    }

    /// Switches it off, reversibly. Doing so twice changes the reason only, if there is a new one.
    pub fn disable(&mut self, act: Act) -> Result<(), ActFault> {
        self.lives()?;
        let says = act.reason.is_some() || act.text.is_some();
        if says || self.state != KeyState::Disabled {
            self.state_note = Some(act.note());
        }
        self.state = KeyState::Disabled;
        Ok(())
    }

    /// Switches it on again.
    pub fn enable(&mut self, at: Timestamp) -> Result<(), ActFault> {
        self.lives()?;
        if self.state == KeyState::Disabled {
            self.state = KeyState::Active;
            self.state_note = None;
            self.marks.enabled_at = Some(at);
            self.marks.inactive_at = None;
        }
        Ok(())
    }

    /// Ends it for good. Doing so twice is no fault; the first reason stays.
    pub fn revoke(&mut self, act: Act) -> Result<(), ActFault> {
        match self.state {
            KeyState::Revoked => return Ok(()),
            KeyState::Deleted => return Err(ActFault::Deleted),
            KeyState::Active | KeyState::Disabled => {}
        }
        self.state = KeyState::Revoked;
        self.state_note = Some(act.note());
        self.marks.inactive_at = None;
        Ok(())
    }

    /// Puts a new secret in front; the one before stays good for the grace, never past the key's own end.
    pub fn rotate(
        &mut self,
        mut secret: SecretVersion,
        grace: i64,
        at: Timestamp,
    ) -> Result<(), ActFault> {
        self.lives()?;
        if self.expires_at.is_some_and(|end| at >= end) {
            return Err(ActFault::Expired);
        }
        if !(0..=MAX_GRACE_MILLIS).contains(&grace) {
            return Err(ActFault::Grace);
        }
        let live = self
            .secrets
            .iter()
            .filter(|old| old.retires_at.is_none_or(|end| at < end));
        if grace > 0 && live.count() >= MAX_LIVE_SECRETS {
            return Err(ActFault::TooManySecrets);
        }
        let end = Timestamp::from_millis(at.as_millis() + grace);
        let end = self.expires_at.map_or(end, |own| end.min(own));
        for old in &mut self.secrets {
            if old.retires_at.is_none_or(|sooner| end < sooner)
                && (old.retires_at.is_none() || grace == 0)
            {
                old.retires_at = Some(end);
            }
        }
        secret.number = self.secrets.iter().map(|old| old.number).max().unwrap_or(0) + 1;
        secret.retires_at = None;
        self.secrets.insert(0, secret);
        self.note_rotation(at);
        Ok(())
    }

    /// Ends older secrets now, before their grace is over.
    pub fn retire(&mut self, number: Option<i64>, at: Timestamp) -> Result<(), ActFault> {
        self.lives()?;
        let mut any = false;
        for old in self.secrets.iter_mut().skip(1) {
            if number.is_none_or(|number| number == old.number)
                && old.retires_at.is_none_or(|end| at < end)
            {
                old.retires_at = Some(at);
                any = true;
            }
        }
        self.note_rotation(at);
        if any {
            Ok(())
        } else {
            Err(ActFault::NothingToRetire)
        }
    }

    /// Drops the secrets that retired so long ago that nobody needs to hear of them.
    pub fn forget(&mut self, at: Timestamp) {
        self.secrets
            .retain(|old| forgotten_at(old).is_none_or(|end| at < end));
    }

    fn note_rotation(&mut self, at: Timestamp) {
        let ends = self.secrets.iter().skip(1).filter_map(|old| old.retires_at);
        self.rotating_until = ends.max().filter(|end| at < *end);
    }

    /// Makes a tombstone of it. Restorable for 30 days.
    pub fn delete(&mut self, act: Act) -> Result<(), ActFault> {
        if self.state == KeyState::Deleted {
            return Err(ActFault::Deleted);
        }
        self.state_before = Some(self.state);
        self.note_before = self.state_note.take();
        self.state = KeyState::Deleted;
        self.state_note = Some(act.note());
        self.marks.inactive_at = None;
        Ok(())
    }

    /// Makes a key of a tombstone again, in the state it had and for the reason it had; its secrets are good as before.
    pub fn restore(&mut self, at: Timestamp) -> Result<(), ActFault> {
        if self.state != KeyState::Deleted {
            return Err(ActFault::NotDeleted);
        }
        let deleted = self
            .state_note
            .as_ref()
            .map_or(self.updated_at, |note| note.at);
        if at.as_millis() - deleted.as_millis() > RESTORABLE_MILLIS {
            return Err(ActFault::RestoreOver);
        }
        self.state = self.state_before.take().unwrap_or(KeyState::Disabled);
        self.state_note = self.note_before.take();
        self.marks.restored_at = Some(at);
        self.marks.inactive_at = None;
        Ok(())
    }

    /// Says that it is to stay although nobody uses it: its inactivity counts from now on.
    pub fn keep(&mut self, at: Timestamp) -> Result<(), ActFault> {
        self.lives()?;
        self.marks.kept_at = Some(at);
        self.marks.inactive_at = None;
        Ok(())
    }

    /// Gives it to another consumer, or to none.
    pub fn transfer(&mut self, consumer: Option<Consumer>) -> Result<(), ActFault> {
        self.editable()?;
        self.consumer = consumer;
        Ok(())
    }
}

/// Days as milliseconds.
pub fn days(days: i64) -> i64 {
    days * DAY_MILLIS
}
