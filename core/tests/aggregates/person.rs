use std::collections::BTreeMap;

use nexplane_core::person::event::{PersonEvent as E, TokenKind};
use nexplane_core::person::{MAX_DELEGATIONS, Person, PersonCommand as C, PersonState as S, Token};

use crate::*;

fn roles() -> impl Strategy<Value = Vec<Role>> {
    prop::collection::vec(prop::sample::select(Role::ALL.to_vec()), 0..4)
}

fn kind() -> impl Strategy<Value = TokenKind> {
    prop::sample::select(vec![TokenKind::User, TokenKind::Machine])
}

fn command() -> impl Strategy<Value = C> {
    let person = OWNER;
    let end = || (0..100_i64).prop_map(moment);
    prop_oneof![
        4 => roles().prop_map(|roles| C::Add { roles }),
        2 => (roles(), 0..2_u32)
            .prop_map(|(roles, other_admins)| C::ChangeRoles { roles, other_admins }),
        1 => (0..2_u32).prop_map(|other_admins| C::Disable { other_admins }),
        1 => Just(C::Enable),
        1 => Just(C::SetPassword { person }),
        2 => id().prop_map(move |session| C::SignIn { person, session }),
        2 => id().prop_map(move |session| C::SignOut { person, session }),
        3 => (id(), kind(), prop::option::of(end())).prop_map(
            move |(token, kind, expires_at)| C::CreateToken { person, token, kind, expires_at }
        ),
        2 => id().prop_map(move |token| C::RevokeToken { person, token }),
        1 => (prop::option::of(text()), end()).prop_map(move |(hostname, expires_at)| {
            C::InviteAgent { person, hostname, expires_at }
        }),
        3 => (id(), id(), any::<bool>(), 0..40_i64, 1..60_i64, text()).prop_map(
            move |(delegation, to, to_is_enabled, from, lasts, reason)| C::Delegate {
                person,
                delegation,
                to: PersonId(to),
                to_is_enabled,
                from: moment(from),
                until: moment(from + lasts),
                reason,
            }
        ),
        1 => id().prop_map(move |delegation| C::EndDelegation { person, delegation }),
    ]
}

fn event() -> impl Strategy<Value = E> {
    prop_oneof![
        1 => roles().prop_map(|roles| E::Added { roles }),
        1 => roles().prop_map(|roles| E::RolesChanged { roles }),
        1 => Just(E::Disabled {}),
        1 => Just(E::Enabled {}),
        1 => Just(E::PasswordSet {}),
        1 => id().prop_map(|session| E::SignedIn { session }),
        1 => id().prop_map(|session| E::SignedOut { session }),
        6 => (id(), kind()).prop_map(|(token, kind)| E::TokenCreated { token, kind, expires_at: None }),
        6 => id().prop_map(|token| E::TokenRevoked { token }),
        1 => Just(E::AgentInvited { hostname: None, expires_at: moment(1) }),
        3 => (id(), id()).prop_map(|(delegation, to)| E::ApprovalsDelegated {
            delegation,
            to: PersonId(to),
            from: moment(0),
            until: moment(60),
            reason: "Away.".to_owned(),
        }),
        1 => id().prop_map(|delegation| E::DelegationEnded { delegation }),
    ]
}

fn parts(state: &S) -> Option<(&[Role], &BTreeMap<Uuid, Token>)> {
    match state {
        S::Absent => None,
        S::Active(phase) => Some((&phase.roles, &phase.tokens)),
        S::Disabled(phase) => Some((&phase.roles, &phase.tokens)),
    }
}

fn is_enabled_admin(state: &S) -> bool {
    matches!(state, S::Active(active) if active.roles.contains(&Role::Admin))
}

#[test]
fn lives_reach_every_phase() {
    let moments: Vec<_> =
        sample(commands(command())).into_iter().flat_map(life::<Person>).collect();
    assert!(moments.iter().any(|moment| is_enabled_admin(&moment.before)));
    assert!(moments.iter().any(|moment| matches!(moment.before, S::Disabled(_))));
    let revoked = |(_, tokens): (_, &BTreeMap<_, Token>)| tokens.values().any(|t| t.revoked);
    assert!(moments.iter().any(|moment| parts(&moment.before).is_some_and(revoked)));
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_can_be_read(events in prop::collection::vec(event(), 0..25)) {
        fold::<Person>(S::Absent, &events);
    }

    #[test]
    fn revoked_tokens_stay_so(
        before in prop::collection::vec(event(), 0..20),
        after in prop::collection::vec(event(), 0..25),
    ) {
        let state = fold::<Person>(S::Absent, &[E::Added { roles: vec![Role::Viewer] }]);
        let state = fold::<Person>(state, &before);
        let later = fold::<Person>(state.clone(), &after);
        let Some((_, tokens)) = parts(&state) else { return Ok(()) };
        let (_, still) = parts(&later).expect("nobody is deleted");
        for (token, _) in tokens.iter().filter(|(_, token)| token.revoked) {
            prop_assert!(still.get(token).is_some_and(|token| token.revoked));
        }
    }

    #[test]
    fn only_approvers_delegate_and_to_few(
        events in prop::collection::vec(event(), 0..25),
        commands in commands(command()),
    ) {
        let added = fold::<Person>(S::Absent, &[E::Added { roles: vec![Role::Approver] }]);
        let state = fold::<Person>(added, &events);
        for moment in life::<Person>(commands) {
            if let S::Active(active) = &moment.after {
                prop_assert!(active.delegations.values().all(|given| given.to != OWNER));
                let standing = active.delegations.values().filter(|given| moment.at < given.until);
                prop_assert!(standing.count() <= MAX_DELEGATIONS);
            }
        }
        for second in 0..70 {
            for to in 0..10 {
                let roles = state.delegates(PersonId(Uuid::from_u128(to)), moment(second));
                prop_assert!(roles.is_none_or(|roles| roles.contains(&Role::Approver)));
            }
        }
    }

    #[test]
    fn everybody_has_a_set_of_roles(commands in commands(command())) {
        for moment in life::<Person>(commands) {
            let Some((roles, _)) = parts(&moment.after) else { continue };
            prop_assert!(!roles.is_empty());
            prop_assert!(roles.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn the_last_admin_stays_one(commands in commands(command())) {
        for moment in life::<Person>(commands) {
            let last = match moment.command {
                C::ChangeRoles { other_admins, .. } | C::Disable { other_admins } => {
                    other_admins == 0
                }
                C::Add { .. }
                | C::Enable
                | C::SetPassword { .. }
                | C::SignIn { .. }
                | C::SignOut { .. }
                | C::CreateToken { .. }
                | C::RevokeToken { .. }
                | C::Delegate { .. }
                | C::EndDelegation { .. }
                | C::InviteAgent { .. } => true,
            };
            if last && is_enabled_admin(&moment.before) {
                prop_assert!(is_enabled_admin(&moment.after));
            }
        }
    }

    #[test]
    fn the_disabled_get_no_way_in(commands in commands(command())) {
        for moment in life::<Person>(commands) {
            if !matches!(moment.before, S::Disabled(_)) {
                continue;
            }
            for event in moment.answer.iter().flatten() {
                let a_way_in =
                    matches!(event, E::SignedIn { .. } | E::TokenCreated { .. });
                prop_assert!(!a_way_in, "{:?}", event);
            }
        }
    }

    #[test]
    fn machines_do_nothing(commands in commands(command())) {
        for moment in life::<Person>(commands) {
            if moment.by.actor == Actor::machine(OWNER) {
                prop_assert!(moment.answer.is_err());
            }
        }
    }

    #[test]
    fn twice_is_once(commands in commands(command())) {
        for moment in life::<Person>(commands) {
            let Ok(events) = &moment.answer else { continue };
            match moment.command {
                C::Add { .. } => prop_assert!(again(&moment).is_err()),
                C::ChangeRoles { .. }
                | C::Disable { .. }
                | C::Enable
                | C::SignIn { .. }
                | C::SignOut { .. }
                | C::CreateToken { .. }
                | C::RevokeToken { .. }
                | C::Delegate { .. } => prop_assert_eq!(again(&moment), Ok(Vec::new())),
                C::EndDelegation { .. } => prop_assert!(again(&moment).is_err()),
                C::SetPassword { .. } | C::InviteAgent { .. } => {
                    prop_assert_eq!(&again(&moment), &Ok(events.clone()));
                }
            }
        }
    }
}
