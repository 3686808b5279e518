-- Secrets: credentials of connections and values that changes produced.
--
-- Every version of a secret is sealed with a data key of its own, which is kept beside it, wrapped
-- by a key-encryption key that is not in this database. Nothing here can be read without that key,
-- and a value opens only under the id, version and owner that it was sealed for.

CREATE SCHEMA IF NOT EXISTS nexplane;

CREATE TABLE nexplane.secrets (
    id uuid PRIMARY KEY,
    -- Who may open it, such as 'connection:<uuid>'. Part of what the values are sealed for.
    owner text COLLATE "C" NOT NULL CHECK (octet_length(owner) BETWEEN 1 AND 200),
    -- What people see instead of the value.
    kind text NOT NULL CHECK (octet_length(kind) BETWEEN 1 AND 100),
    name text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    -- The newest version.
    version integer NOT NULL CHECK (version >= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When a person was shown the value; it is shown once.
    revealed_at timestamptz
);

CREATE INDEX secrets_owner ON nexplane.secrets (owner);

CREATE TABLE nexplane.secret_versions (
    secret_id uuid NOT NULL REFERENCES nexplane.secrets ON DELETE CASCADE,
    version integer NOT NULL CHECK (version >= 1),
    -- Which key-encryption key wraps the data key: 64 bits of its hash.
    key_id text COLLATE "C" NOT NULL CHECK (key_id ~ '^[0-9a-f]{16}$'),
    -- Both: nonce (12 bytes), ciphertext, tag (16 bytes).
    wrapped_key bytea NOT NULL CHECK (octet_length(wrapped_key) = 60),
    sealed bytea NOT NULL CHECK (octet_length(sealed) BETWEEN 28 AND 65564),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (secret_id, version)
);

CREATE INDEX secret_versions_key_id ON nexplane.secret_versions (key_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON nexplane.secrets, nexplane.secret_versions
    TO nexplane_app;
