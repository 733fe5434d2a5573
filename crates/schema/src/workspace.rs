//! The three states of a configuration: as it is being edited, as it runs, and as it was last confirmed.

use crate::{Object, Problem, Tree};

/// A configuration on its way from being edited to being confirmed.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// What the commands change.
    pub candidate: Tree,
    /// What runs.
    active: Tree,
    /// What was confirmed, and comes back when what runs is not.
    committed: Tree,
}

/// What happened to an object since the last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Unchanged,
    /// It was not there.
    New,
    /// It has other values, another place, or is switched the other way.
    Modified,
    /// It is to go.
    Deleted,
}

impl Workspace {
    /// Starts from a configuration that is running and confirmed.
    pub fn new(tree: Tree) -> Self {
        Self { candidate: tree.clone(), active: tree.clone(), committed: tree }
    }

    /// What runs.
    pub const fn active(&self) -> &Tree {
        &self.active
    }

    /// What was last confirmed.
    pub const fn committed(&self) -> &Tree {
        &self.committed
    }

    /// The candidate runs now: what was marked deleted is gone for good.
    pub fn activate(&mut self) {
        self.candidate.objects.retain(|object| !object.deleted);
        self.active = self.candidate.clone();
    }

    /// What runs is confirmed.
    pub fn commit(&mut self) {
        for object in self.candidate.objects.iter_mut().chain(&mut self.active.objects) {
            object.moved = false;
        }
        self.committed = self.active.clone();
    }

    /// What was confirmed runs again. The edits stay in the candidate, so that they can be mended.
    pub fn revert(&mut self) {
        self.active = self.committed.clone();
    }

    /// True when something is active and not confirmed.
    pub fn is_pending(&self) -> bool {
        crate::save::text(&self.active) != crate::save::text(&self.committed)
    }

    /// True when the candidate differs from what was confirmed.
    pub fn is_changed(&self) -> bool {
        self.candidate.objects.iter().any(|object| self.state(object) != State::Unchanged)
            || self.committed.objects().any(|object| self.candidate.get(object.id).is_none() && !object.predefined)
    }

    /// The object of the confirmed configuration that `object` is.
    pub fn before(&self, object: &Object) -> Option<&Object> {
        if object.predefined {
            let same = |other: &&Object| other.info.name == object.info.name && other.name == object.name;
            return self
                .committed
                .objects()
                .find(|other| other.id == object.id && same(other))
                .or_else(|| self.committed.objects().find(same));
        }
        self.committed.get(object.id)
    }

    /// What happened to an object of the candidate since the last commit.
    pub fn state(&self, object: &Object) -> State {
        if object.deleted {
            return State::Deleted;
        }
        match self.before(object) {
            None if object.predefined && object.values.is_empty() => State::Unchanged,
            None => State::New,
            Some(before) if before.is_like(object) && !object.moved => State::Unchanged,
            Some(_) => State::Modified,
        }
    }

    /// Everything that is wrong with the candidate's objects and references.
    pub fn check(&self) -> Vec<Problem> {
        self.candidate.check()
    }

    /// Replaces what the host and the types put there without being declared, in every state alike.
    pub fn refresh(&mut self, renew: impl Fn(&mut Tree)) {
        for tree in [&mut self.candidate, &mut self.active, &mut self.committed] {
            renew(tree);
            tree.derive();
        }
    }
}
