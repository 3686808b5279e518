# Discovery
path "sys/mounts" { capabilities = ["read"] }
path "sys/auth" { capabilities = ["read"] }
path "sys/policies/acl" { capabilities = ["list"] }
path "secret/metadata/*" { capabilities = ["list", "read"] }
path "database/static-roles" { capabilities = ["list"] }

# rotate_kv_secret
path "secret/data/*" { capabilities = ["read", "update"] }

# delete_kv_version, together with secret/metadata/*
path "secret/delete/*" { capabilities = ["update"] }
path "secret/undelete/*" { capabilities = ["update"] }

# update_policy: whoever may write any policy may do anything, so name those that are meant
path "sys/policies/acl/*" { capabilities = ["read", "update"] }
# but never its own
path "sys/policies/acl/nexplane" { capabilities = ["read"] }

# revoke_token
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }

# rotate_database_credentials
path "database/static-roles/*" { capabilities = ["read", "list"] }
path "database/rotate-role/*" { capabilities = ["update"] }
