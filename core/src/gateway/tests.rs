//! Given events, when a command, then events or the exact rejection.

use uuid::Uuid;

use super::event::GatewayEvent as E;
use super::{Gateway, GatewayCommand, GatewayRejection as No, GatewayState};
use crate::actor::{Actor, Role};
use crate::aggregate::{Asked, Decider as _, Principal};
use crate::id::PersonId;
use crate::refusal::{Cause, Refused};
use crate::time::Timestamp;

fn refused() -> Refused {
    Refused {
        cause: Cause::CertificateForeign,
        count: 3,
        since: Timestamp::from_micros(0),
        source: Some("203.0.113.0/24".to_owned()),
    }
}

fn when(by: Principal, refused: Refused) -> Result<Vec<E>, No> {
    let command = GatewayCommand::RecordRefused { refused };
    Gateway::decide(&GatewayState, Asked { by, at: Timestamp::from_micros(9), command })
}

#[test]
fn nexplane_says_what_was_refused_and_nobody_else() {
    let Refused { cause, count, since, source } = refused();
    let event = E::Refused { cause, count, since, source };
    assert_eq!(when(Principal::SYSTEM, refused()), Ok(vec![event]));
    let actor = Actor::user(PersonId(Uuid::from_u128(1)));
    let admin = Principal { actor, roles: Role::ALL.to_vec() };
    assert_eq!(when(admin, refused()), Err(No::Denied));
}

#[test]
fn nothing_is_no_refusal_and_a_source_is_a_network() {
    let none = Refused { count: 0, ..refused() };
    let problem = "nothing was refused";
    assert_eq!(when(Principal::SYSTEM, none), Err(No::Invalid { field: "count", problem }));
    for source in ["evil\nhost", "2001:db8::/48 ", &"1".repeat(60)] {
        let refused = Refused { source: Some(source.to_owned()), ..refused() };
        let no = when(Principal::SYSTEM, refused).unwrap_err();
        assert!(matches!(no, No::Invalid { field: "source", .. }), "{source:?}: {no:?}");
    }
    let source = Some("2001:db8:1::/48".to_owned());
    assert!(when(Principal::SYSTEM, Refused { source, ..refused() }).is_ok());
}
