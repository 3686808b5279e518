//! Connector `ldap`, against OpenLDAP and against a domain controller of Samba.

mod directory;
mod discovery;
mod domain;
mod groups;
mod logins;
mod samba;

use directory::OpenLdap;
use samba::Domain;

mod slapd_conforms {
    use super::*;

    crate::suite::conform! {
        OpenLdap:
        add_group_member => "ldap.add_group_member",
        expire_password => "ldap.expire_password",
        lock_user => "ldap.lock_user",
        remove_group_member => "ldap.remove_group_member",
        reset_password => "ldap.reset_password",
        unlock_user => "ldap.unlock_user",
    }

    #[tokio::test]
    async fn real_crash_of_the_line_while_locking() {
        let [unknown_done, unknown_not_done, definite] =
            crate::suite::severed::<OpenLdap>("ldap.lock_user").await;
        assert!(definite >= 2, "only {definite} definite answers");
        assert!(unknown_done >= 1, "no cut hit the answer");
        assert!(unknown_not_done >= 1, "no cut hit the modification itself");
    }
}

mod samba_conforms {
    use super::*;

    crate::suite::conform! {
        Domain:
        add_group_member => "ldap.add_group_member",
        expire_password => "ldap.expire_password",
        lock_user => "ldap.lock_user",
        remove_group_member => "ldap.remove_group_member",
        reset_ad_password => "ldap.reset_ad_password",
        unlock_user => "ldap.unlock_user",
    }
}
