//! Who looks at a replay: nobody in it, because nobody of then is signed in now.

use nexplane_core::actor::Role;
use nexplane_core::api::{LoginRequest, Me, ReplayView};
use nexplane_core::id::PersonId;
use nexplane_core::time::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Moment;
use crate::auth;
use crate::problem::ApiError;

/// What a guest may do: look.
pub const ROLES: [Role; 1] = [Role::Auditor];
/// With this address and the password of the link.
const EMAIL: &str = "auditor@replay";
/// Code of the refusal to change something.
pub const READ_ONLY: &str = "replay.read_only";

/// The one person who can sign in to a replay.
#[derive(Clone, Debug)]
pub struct Guest {
    pub id: PersonId,
    moment: Moment,
    password_hash: [u8; 32],
}

impl Guest {
    /// A guest, and the password: 256 random bits, so a fast hash is enough.
    pub fn invite(moment: Moment) -> (Self, String) {
        let password = auth::random_token("replay");
        let password_hash = Sha256::digest(password.as_bytes()).into();
        (Self { id: PersonId(Uuid::now_v7()), moment, password_hash }, password)
    }

    /// Whether somebody is the guest. Comparing hashes of random bits tells nothing by its time.
    pub fn is(&self, login: &LoginRequest) -> bool {
        let hash: [u8; 32] = Sha256::digest(login.password.as_bytes()).into();
        login.email.trim().eq_ignore_ascii_case(EMAIL) && hash == self.password_hash
    }

    /// The moment that is replayed.
    pub const fn moment(&self) -> Timestamp {
        self.moment.at
    }

    pub fn me(&self) -> Me {
        Me {
            id: self.id,
            email: EMAIL.to_owned(),
            name: "Auditor".to_owned(),
            roles: ROLES.to_vec(),
            machine: false,
            replay: Some(ReplayView { position: self.moment.position, at: self.moment.at }),
            demo: false,
        }
    }

    /// The refusal of whatever would change something.
    pub fn read_only(&self) -> ApiError {
        ApiError::conflict(
            READ_ONLY,
            format!(
                "This is a replay of {}. Nothing in it can be changed; do it in the running \
                 installation.",
                self.moment.at
            ),
        )
    }

    /// The address that signs the guest in. After '#': browsers keep it to themselves.
    pub fn link(api: &str, password: &str) -> String {
        format!("{api}/login#email={EMAIL}&password={password}")
    }
}
