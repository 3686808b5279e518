-- The event log.
--
-- One row of log_events is one event. Positions start at 0 and have no gaps: every append takes
-- the one row of log_head first and gives it back at commit, so all appends are one serial
-- schedule. Nothing but append_batch() writes these tables, and nothing changes or removes an event:
-- the roles below have no right to, and triggers refuse it to those who have every right. A superuser
-- can switch triggers off; what he does then is found by `nexplane audit verify`.

CREATE SCHEMA IF NOT EXISTS nexplane;

-- Who may do what. None of these can log in: whoever applies this becomes a member of them, and the
-- server takes one on for each of its connections. Roles belong to the whole PostgreSQL server, so
-- another database may have made them.
--
--   nexplane_log_owner  owns the log's tables and functions
--   nexplane_append     may call append_batch(), nothing else
--   nexplane_app        reads the log, reads and writes everything that is not the log
--   nexplane_seal       reads the log and adds checkpoints
--   nexplane_read       reads the log, for audits
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['nexplane_log_owner', 'nexplane_append', 'nexplane_app',
        'nexplane_seal', 'nexplane_read']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database's migration was quicker
            END;
        END IF;
        IF NOT pg_has_role(current_user, role, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER', role);
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA nexplane
    TO nexplane_log_owner, nexplane_append, nexplane_app, nexplane_seal, nexplane_read;
GRANT CREATE ON SCHEMA nexplane TO nexplane_log_owner, nexplane_app; -- partitions, read models
GRANT SELECT ON nexplane.migrations TO nexplane_app;

CREATE TABLE nexplane.log_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Which life of the log this is. A restored backup gets a new one, so that cursors of the
    -- old life are recognised.
    incarnation uuid NOT NULL DEFAULT gen_random_uuid(),
    next_position bigint NOT NULL DEFAULT 0 CHECK (next_position >= 0)
) WITH (fillfactor = 10);

INSERT INTO nexplane.log_head DEFAULT VALUES;

CREATE TABLE nexplane.log_events (
    position bigint NOT NULL PRIMARY KEY,
    stream_id text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    -- Place in the stream, from 1.
    version bigint NOT NULL CHECK (version > 0),
    type text COLLATE "C" NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- One line of JSON, byte for byte what was hashed. The columns beside it are an index over it.
    record text NOT NULL,
    -- SHA-256(0x00 || record), RFC 9162 section 2.1.1.
    leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
) PARTITION BY RANGE (position);

CREATE INDEX log_events_recorded_at ON nexplane.log_events (recorded_at);

-- The version of the last event of every stream that has one.
CREATE TABLE nexplane.log_streams (
    stream_id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL CHECK (version > 0)
) WITH (fillfactor = 70);

-- Every command that wrote something: a repeated one is answered from here.
CREATE TABLE nexplane.log_commands (
    command_id uuid PRIMARY KEY,
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    CHECK (first_position <= last_position)
);

-- Refuses to change or remove what was written. Its triggers are on every partition itself: row
-- triggers that a partition gets from its parent go away when it is detached, and a TRUNCATE trigger
-- of the parent does not protect its partitions. ENABLE ALWAYS also holds with
-- session_replication_role = replica.
CREATE FUNCTION nexplane.refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION '% on %.%: the event log is only ever added to',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE FUNCTION nexplane.protect(protected regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON %s
        FOR EACH ROW EXECUTE FUNCTION nexplane.refuse_change()', protected);
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION nexplane.refuse_change()', protected);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_change', protected);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_truncate', protected);
END
$$;

SELECT nexplane.protect('nexplane.log_commands');

-- Makes the partition of the next position and the `ahead` after it, 1,000,000 positions each, and
-- returns how many were missing. ATTACH waits for nobody who reads; CREATE ... PARTITION OF would.
-- The unique index belongs to each partition, because one over all of them would have to contain
-- the position.
CREATE FUNCTION nexplane.ensure_log_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '1s'
AS $$
DECLARE
    size CONSTANT bigint := 1000000;
    current bigint;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('nexplane.ensure_log_partitions', 0));
    SELECT h.next_position / size INTO STRICT current FROM nexplane.log_head h;
    FOR number IN current .. current + ahead LOOP
        name := 'log_events_p' || lpad(number::text, 6, '0');
        CONTINUE WHEN to_regclass(format('nexplane.%I', name)) IS NOT NULL;
        EXECUTE format('CREATE TABLE nexplane.%I (LIKE nexplane.log_events INCLUDING ALL)', name);
        EXECUTE format('CREATE UNIQUE INDEX %I ON nexplane.%I (stream_id, version)',
            name || '_stream', name);
        PERFORM nexplane.protect(format('nexplane.%I', name)::regclass);
        EXECUTE format('GRANT SELECT ON nexplane.%I TO nexplane_app, nexplane_seal, nexplane_read',
            name);
        EXECUTE format(
            'ALTER TABLE nexplane.log_events ATTACH PARTITION nexplane.%I FOR VALUES FROM (%s) TO (%s)',
            name, number * size, (number + 1) * size);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

-- Appends a batch of commands, all at once or not at all, and answers for each of them:
--
--   appended      first_position, last_position
--   duplicate     the positions of the first time; nothing was written
--   key_reused    the command id belongs to another request; nothing was written
--   conflict      actual = the version its stream is at; nothing was written
--   guard_failed  guard_no = the first guard that does not hold, actual = the version there
--
-- Commands, guards and events are given as columns. guard_commands and event_commands say, from 1,
-- which command a row belongs to; events of a command are in order; every command has at least one.
-- No two commands of a batch write the same stream, and none guards a stream that another writes:
-- then the order of the commands inside the batch has no influence on the answers.
--
-- The head is locked by the first statement. Each later statement has a snapshot of its own (READ
-- COMMITTED) that was taken under the lock, so what it sees stays true until the commit.
--
-- The planner settings make every look-up a nested loop over an index. A plan cached while the
-- tables were empty would otherwise scan them for as long as nobody runs ANALYZE. Compiling the
-- statements takes longer than running them (300 ms, measured on PostgreSQL 15).
CREATE FUNCTION nexplane.append_batch(
    command_ids uuid[],
    request_hashes bytea[],
    stream_ids text[],
    expected_versions bigint[],
    recorded timestamptz[],
    guard_commands integer[],
    guard_streams text[],
    guard_versions bigint[],
    event_commands integer[],
    event_types text[],
    event_records text[],
    event_hashes bytea[]
) RETURNS TABLE (
    command_no integer,
    verdict text,
    first_position bigint,
    last_position bigint,
    guard_no integer,
    actual bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    head bigint;
    refused boolean[] := array_fill(false, ARRAY[cardinality(command_ids)]);
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append_batch needs READ COMMITTED, this transaction is %',
            current_setting('transaction_isolation')
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    SELECT h.next_position INTO STRICT head FROM nexplane.log_head h
    WHERE h.only_row FOR NO KEY UPDATE;

    IF (SELECT count(DISTINCT s) FROM unnest(stream_ids) s) < cardinality(stream_ids)
        OR EXISTS (SELECT unnest(guard_streams) INTERSECT SELECT unnest(stream_ids)) THEN
        RAISE EXCEPTION 'a stream of this batch is written twice, or written and guarded'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- A repeated command is answered before anything else is looked at: the versions have moved
    -- on since, often because of this very command.
    FOR command_no, verdict, first_position, last_position IN
        SELECT asked.no, CASE WHEN known.request_hash = asked.request_hash
                THEN 'duplicate' ELSE 'key_reused' END,
            known.first_position, known.last_position
        FROM unnest(command_ids, request_hashes) WITH ORDINALITY asked (command_id, request_hash, no)
        JOIN nexplane.log_commands known ON known.command_id = asked.command_id
    LOOP
        refused[command_no] := true;
        RETURN NEXT;
    END LOOP;
    first_position := NULL;
    last_position := NULL;

    FOR command_no, verdict, actual IN
        SELECT asked.no, 'conflict', coalesce(stream.version, 0)
        FROM unnest(stream_ids, expected_versions) WITH ORDINALITY asked (stream_id, version, no)
        LEFT JOIN nexplane.log_streams stream ON stream.stream_id = asked.stream_id
        WHERE NOT refused[asked.no] AND coalesce(stream.version, 0) <> asked.version
    LOOP
        refused[command_no] := true;
        RETURN NEXT;
    END LOOP;

    FOR command_no, verdict, guard_no, actual IN
        SELECT DISTINCT ON (guard.command)
            guard.command, 'guard_failed', guard.no, coalesce(stream.version, 0)
        FROM unnest(guard_commands, guard_streams, guard_versions)
            WITH ORDINALITY guard (command, stream_id, version, no)
        LEFT JOIN nexplane.log_streams stream ON stream.stream_id = guard.stream_id
        WHERE NOT refused[guard.command] AND coalesce(stream.version, 0) <> guard.version
        ORDER BY guard.command, guard.no
    LOOP
        refused[command_no] := true;
        RETURN NEXT;
    END LOOP;
    guard_no := NULL;
    actual := NULL;

    IF true = ALL (refused) THEN
        RETURN;
    END IF;

    RETURN QUERY
    WITH placed AS MATERIALIZED (
        SELECT event.command, event.type, event.record, event.leaf_hash,
            head - 1 + row_number() OVER (ORDER BY event.command, event.no) AS position,
            expected_versions[event.command]
                + row_number() OVER (PARTITION BY event.command ORDER BY event.no) AS version
        FROM unnest(event_commands, event_types, event_records, event_hashes)
            WITH ORDINALITY event (command, type, record, leaf_hash, no)
        WHERE NOT refused[event.command]
    ), written AS (
        SELECT placed.command, min(placed.position) AS first, max(placed.position) AS last,
            max(placed.version) AS version
        FROM placed GROUP BY placed.command
    ), events AS (
        INSERT INTO nexplane.log_events
            (position, stream_id, category, version, type, recorded_at, record, leaf_hash)
        SELECT placed.position, stream_ids[placed.command],
            split_part(stream_ids[placed.command], '-', 1), placed.version, placed.type,
            recorded[placed.command], placed.record, placed.leaf_hash
        FROM placed
    ), streams AS (
        INSERT INTO nexplane.log_streams AS stream (stream_id, version)
        SELECT stream_ids[written.command], written.version FROM written
        ON CONFLICT (stream_id) DO UPDATE SET version = EXCLUDED.version
    ), commands AS (
        INSERT INTO nexplane.log_commands (command_id, request_hash, first_position, last_position)
        SELECT command_ids[written.command], request_hashes[written.command],
            written.first, written.last
        FROM written
    ), moved AS (
        UPDATE nexplane.log_head SET next_position = (SELECT max(written.last) + 1 FROM written)
        WHERE only_row
    )
    SELECT written.command, 'appended', written.first, written.last, NULL::integer, NULL::bigint
    FROM written;
END
$$;

-- From here on everything belongs to nexplane_log_owner, who cannot log in.
DO $$
DECLARE
    thing text;
BEGIN
    FOREACH thing IN ARRAY ARRAY['TABLE nexplane.log_head', 'TABLE nexplane.log_events',
        'TABLE nexplane.log_streams', 'TABLE nexplane.log_commands']
    LOOP
        EXECUTE format('ALTER %s OWNER TO nexplane_log_owner', thing);
    END LOOP;
    FOR thing IN
        SELECT 'FUNCTION ' || p.oid::regprocedure FROM pg_proc p
        WHERE p.pronamespace = 'nexplane'::regnamespace
    LOOP
        EXECUTE format('ALTER %s OWNER TO nexplane_log_owner', thing);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', thing);
    END LOOP;
END
$$;

GRANT EXECUTE ON FUNCTION nexplane.ensure_log_partitions(integer) TO nexplane_append;
GRANT EXECUTE ON FUNCTION nexplane.append_batch(
    uuid[], bytea[], text[], bigint[], timestamptz[], integer[], text[], bigint[], integer[], text[],
    text[], bytea[]) TO nexplane_append;
GRANT SELECT ON nexplane.log_head TO nexplane_append, nexplane_app, nexplane_seal, nexplane_read;
GRANT SELECT ON nexplane.log_events, nexplane.log_streams, nexplane.log_commands
    TO nexplane_app, nexplane_seal, nexplane_read;

SELECT nexplane.ensure_log_partitions(2);
