-- As a superuser, once per server. \password asks for the password, so that it is in no log.
CREATE ROLE nexplane LOGIN CREATEROLE;
\password nexplane

-- lock_user: end the sessions of the role.
GRANT pg_signal_backend TO nexplane;

-- rotate_user_password, drop_user: put the earlier password back. In the connection's database.
GRANT SELECT (rolname, rolpassword) ON pg_authid TO nexplane;

-- PostgreSQL 16 and later: for each role that it did not make itself.
GRANT app TO nexplane WITH ADMIN OPTION;

-- create_read_only_user, revoke_all_privileges: for each owner of schemas that are worked on.
GRANT app_owner TO nexplane;
