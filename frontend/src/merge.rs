//! When two people edit the same thing: what is whose, field by field. Pure.
//!
//! Nothing that somebody typed is lost, and nothing that somebody else saved is overwritten without a word.

/// Of one field: what it was when the editing began, what is typed, and what is saved now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Three<T> {
    pub base: T,
    pub mine: T,
    pub theirs: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Mine,
    Theirs,
}

impl<T: Clone + PartialEq> Three<T> {
    /// Both changed it, and not to the same.
    pub fn conflicts(&self) -> bool {
        self.mine != self.base && self.theirs != self.base && self.mine != self.theirs
    }

    /// What was not touched here follows what is saved; so does what became the same.
    pub fn follow(&mut self) {
        if self.mine == self.base {
            self.mine = self.theirs.clone();
        }
        if self.mine == self.theirs {
            self.base = self.theirs.clone();
        }
    }

    /// Settles a conflict. What is kept of mine is then a change of what is saved.
    pub fn choose(&mut self, side: Side) {
        self.base = self.theirs.clone();
        if side == Side::Theirs {
            self.mine = self.theirs.clone();
        }
    }

    /// What has to be saved; nothing when it is saved already.
    pub fn to_save(&self) -> Option<T> {
        (self.mine != self.theirs).then(|| self.mine.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(base: &'static str, mine: &'static str, theirs: &'static str) -> Three<&'static str> {
        Three { base, mine, theirs }
    }

    #[test]
    fn what_was_not_touched_follows_and_what_was_typed_stays() {
        let mut untouched = three("a", "a", "b");
        assert!(!untouched.conflicts());
        untouched.follow();
        assert_eq!((untouched.mine, untouched.to_save()), ("b", None));

        let mut typed = three("a", "x", "a");
        typed.follow();
        assert_eq!((typed.mine, typed.to_save(), typed.conflicts()), ("x", Some("x"), false));
    }

    #[test]
    fn both_is_a_conflict_until_somebody_chooses() {
        let both = three("a", "x", "b");
        assert!(both.conflicts());
        let mut kept = both.clone();
        kept.follow();
        assert_eq!(kept, both, "nothing is decided by itself");
        kept.choose(Side::Mine);
        assert_eq!((kept.conflicts(), kept.to_save()), (false, Some("x")));
        let mut taken = both;
        taken.choose(Side::Theirs);
        assert_eq!((taken.conflicts(), taken.mine, taken.to_save()), (false, "b", None));
    }

    #[test]
    fn the_same_from_both_is_no_conflict() {
        let mut same = three("a", "b", "b");
        assert!(!same.conflicts());
        same.follow();
        assert_eq!((same.base, same.to_save()), ("b", None));
    }
}
