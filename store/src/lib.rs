//! What Nexplane remembers: the event log, the secret table, the embedded PostgreSQL.
