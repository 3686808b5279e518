-- Host agents: enrolment tokens, certificates, orders and receipts.
--
-- Which hosts exist and whether they may act is decided by the `host` streams; these tables never
-- answer that. An order is signed when it is inserted and never changes; a receipt is signed by the
-- agent and kept as the exact text that was signed.

CREATE SCHEMA IF NOT EXISTS nexplane;

CREATE TABLE nexplane.enrollment_tokens (
    -- SHA-256 of the token, which has 256 random bits.
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    -- The host that this token makes. Chosen here, so that a repeated enrolment is the same one.
    host_id    uuid NOT NULL UNIQUE,
    -- Expected name of the host; null for any.
    hostname   text,
    created_by uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    -- Whose key used it: the same key may ask again when the answer was lost.
    used_by_key text CHECK ((used_at IS NULL) = (used_by_key IS NULL))
);

-- Every key that an agent was given a certificate for. Receipts that were signed offline are checked
-- against earlier ones.
CREATE TABLE nexplane.agent_certificates (
    -- SHA-256 of the DER SubjectPublicKeyInfo, hexadecimal.
    key_hash   text PRIMARY KEY CHECK (key_hash ~ '^[0-9a-f]{64}$'),
    host_id    uuid NOT NULL,
    -- Uncompressed P-256 point.
    public_key bytea NOT NULL CHECK (octet_length(public_key) = 65),
    issued_at  timestamptz NOT NULL DEFAULT now(),
    not_after  timestamptz NOT NULL
);
CREATE INDEX agent_certificates_host ON nexplane.agent_certificates (host_id);

-- Running gateways, for telling which host an agent's silence is about.
CREATE TABLE nexplane.agent_gateways (
    gateway_id uuid PRIMARY KEY,
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- What is counted per host.
CREATE TABLE nexplane.agent_hosts (
    host_id       uuid PRIMARY KEY,
    -- Sequence number of its last order. The row is locked while an order is inserted, so that
    -- orders become visible in their sequence.
    last_seq      bigint NOT NULL DEFAULT 0,
    -- Its receipts: how many, and the hash of the last one's payload.
    receipts      bigint NOT NULL DEFAULT 0,
    receipt_head  text NOT NULL DEFAULT repeat('0', 64),
    -- The gateway that holds its poll; null when offline.
    gateway_id    uuid
) WITH (fillfactor = 70);
CREATE INDEX agent_hosts_gateway ON nexplane.agent_hosts (gateway_id) WHERE gateway_id IS NOT NULL;

CREATE TABLE nexplane.agent_jobs (
    job_id       uuid PRIMARY KEY,
    host_id      uuid NOT NULL,
    seq          bigint NOT NULL CHECK (seq > 0),
    -- Idempotency key of whoever ordered it.
    key          text NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 200),
    -- SHA-256 of the order without its frame: the same key must mean the same order.
    order_hash   bytea NOT NULL CHECK (octet_length(order_hash) = 32),
    has_effect   boolean NOT NULL,
    -- JSON; the payload in it is the exact text that is signed. Not jsonb, which would not keep it.
    envelope     text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    not_after    timestamptz NOT NULL,
    -- First handed to a poll. Until then it can be withdrawn, and then it certainly never happens.
    delivered_at timestamptz,
    withdrawn_at timestamptz,
    received_at  timestamptz,
    intent_at    timestamptz,
    -- JSON of the signed receipt.
    receipt      text,
    finished_at  timestamptz,
    CHECK (delivered_at IS NULL OR withdrawn_at IS NULL),
    CHECK ((receipt IS NULL) = (finished_at IS NULL)),
    UNIQUE (host_id, seq)
);
-- A withdrawn order has given its key back.
CREATE UNIQUE INDEX agent_jobs_key ON nexplane.agent_jobs (host_id, key) WHERE withdrawn_at IS NULL;
-- What a poll looks for.
CREATE INDEX agent_jobs_open ON nexplane.agent_jobs (host_id, seq)
    WHERE finished_at IS NULL AND withdrawn_at IS NULL;
CREATE INDEX agent_jobs_questions ON nexplane.agent_jobs (created_at) WHERE NOT has_effect;

-- The chain of receipts of each host.
CREATE TABLE nexplane.agent_receipts (
    host_id      uuid NOT NULL,
    -- From 1, without gaps as long as the agent's journal is whole.
    number       bigint NOT NULL CHECK (number > 0),
    job_id       uuid NOT NULL,
    -- SHA-256 of the payload, hexadecimal: the next receipt names it.
    payload_hash text NOT NULL,
    -- JSON of the signed receipt; null once the answer to a mere question is old.
    receipt      text,
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (host_id, number)
);
CREATE INDEX agent_receipts_job ON nexplane.agent_receipts (job_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON nexplane.enrollment_tokens, nexplane.agent_certificates,
    nexplane.agent_gateways, nexplane.agent_hosts, nexplane.agent_jobs, nexplane.agent_receipts
    TO nexplane_app;
