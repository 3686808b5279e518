-- People, sessions, API tokens, remembered requests and the installation's own settings.
--
-- Personal data is here and nowhere else, so that it can be erased without touching the log. What
-- people may do is decided by the `person` streams; these tables never answer that.

CREATE SCHEMA IF NOT EXISTS nexplane;

CREATE TABLE nexplane.people (
    person_id     uuid PRIMARY KEY,
    email         text NOT NULL,
    name          text NOT NULL,
    -- Argon2id, PHC string; null for people who cannot sign in with a password.
    password_hash text,
    created_at    timestamptz NOT NULL
);
CREATE UNIQUE INDEX people_email ON nexplane.people (lower(email));

CREATE TABLE nexplane.sessions (
    session_id uuid PRIMARY KEY,
    person_id  uuid NOT NULL REFERENCES nexplane.people ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX sessions_person ON nexplane.sessions (person_id) WHERE ended_at IS NULL;

CREATE TABLE nexplane.api_tokens (
    token_id   uuid PRIMARY KEY,
    person_id  uuid NOT NULL REFERENCES nexplane.people ON DELETE CASCADE,
    -- SHA-256 of the token, which has 256 random bits.
    token_hash bytea NOT NULL UNIQUE,
    name       text NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('user', 'machine')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_tokens_person ON nexplane.api_tokens (person_id);

-- One-time link for the first admin.
CREATE TABLE nexplane.first_run (
    token_hash bytea PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Answers to requests with an Idempotency-Key. `seed` is the id of the command and of what it
-- makes; it is stored before anything happens, so a repetition after a crash is the same command.
CREATE TABLE nexplane.requests (
    person_id    uuid NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    seed         uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    status       smallint,
    headers      jsonb,
    body         text,
    PRIMARY KEY (person_id, key)
);
CREATE INDEX requests_age ON nexplane.requests (created_at);

-- Names of things that exist once per installation, such as the secret with the token key.
CREATE TABLE nexplane.installation (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- Who carries out a run right now. The log decides (run.claimed, epochs); this only says who is
-- alive, so that nobody waits for a worker that is gone.
CREATE TABLE nexplane.run_leases (
    run_id     uuid PRIMARY KEY,
    worker     uuid NOT NULL,
    expires_at timestamptz NOT NULL
);

-- How far the process managers have reacted to the log.
CREATE TABLE nexplane.reactor (
    one            boolean PRIMARY KEY DEFAULT true CHECK (one),
    next_position  bigint NOT NULL
);
INSERT INTO nexplane.reactor (next_position) VALUES (0);

GRANT SELECT, INSERT, UPDATE, DELETE ON nexplane.people, nexplane.sessions, nexplane.api_tokens,
    nexplane.first_run, nexplane.requests, nexplane.installation, nexplane.run_leases,
    nexplane.reactor
    TO nexplane_app;
