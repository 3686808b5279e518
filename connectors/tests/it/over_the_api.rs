//! What the server's tests take from here to run every action over the API: peers, and a case for every action.
//! No module of this test program.

pub mod fixture;

pub mod aws {
    mod bench;
    mod ec2;
    pub mod identity;
    pub mod machine;
}

pub mod ldap {
    pub mod directory;
    pub mod samba;
}

pub mod postgres {
    pub mod bench;
    mod cases;
}

pub mod redis {
    pub mod bench;
    mod cases;
}

pub mod ssh {
    pub use crate::real_host::disposable;

    pub mod bench;
    pub mod booted;
    mod cases;
    pub mod publish;
}

pub mod suite {
    mod peer;

    pub use peer::{Account, Case, Login, Peer};
}

pub mod template {
    pub mod connector;
}

pub mod vault {
    pub mod bench;
}
