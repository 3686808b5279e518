-- What makes the log provable: tiles of its Merkle tree and signed checkpoints.
--
-- Written by the sealer, which keeps its key and the last tree that it signed outside of the
-- database. Everything here can be made again from the events but the signatures, and none of it is
-- believed without them. A log that was forked has a new incarnation, and begins a tree of its own.

-- Full tiles: 256 hashes of 32 bytes, as in https://c2sp.org/tlog-tiles. Partial ones are made when
-- they are asked for.
CREATE TABLE nexplane.log_tiles (
    incarnation uuid NOT NULL,
    level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    index bigint NOT NULL CHECK (index >= 0),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    -- The tile's own hash, which stands in the tile above.
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (incarnation, level, index)
);

CREATE TABLE nexplane.log_checkpoints (
    incarnation uuid NOT NULL,
    -- Events under the root.
    size bigint NOT NULL CHECK (size > 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    -- Text and the log's signature, as in https://c2sp.org/signed-note.
    note text NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (incarnation, size)
);

-- Signature lines of witnesses, which come later than the checkpoint. One for each witness.
CREATE TABLE nexplane.log_cosignatures (
    incarnation uuid NOT NULL,
    size bigint NOT NULL,
    witness text COLLATE "C" NOT NULL,
    line text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (incarnation, size, witness),
    FOREIGN KEY (incarnation, size) REFERENCES nexplane.log_checkpoints
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['log_tiles', 'log_checkpoints', 'log_cosignatures'] LOOP
        EXECUTE format('ALTER TABLE nexplane.%I OWNER TO nexplane_log_owner', name);
        PERFORM nexplane.protect(format('nexplane.%I', name)::regclass);
        EXECUTE format('GRANT SELECT ON nexplane.%I TO nexplane_app, nexplane_seal, nexplane_read',
            name);
        EXECUTE format('GRANT INSERT ON nexplane.%I TO nexplane_seal', name);
    END LOOP;
END
$$;
