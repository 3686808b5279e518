-- Where the history of a log was broken off and taken up again, by a person and for a reason: after
-- a backup was restored, events that followed it are gone, and whoever has seen them must not go on
-- as if nothing had happened. A log that was forked has a new incarnation: cursors and checkpoints of
-- the old one are recognised as such.

CREATE TABLE nexplane.log_forks (
    incarnation uuid PRIMARY KEY,
    previous uuid NOT NULL,
    -- The last position that both have; -1 for none.
    last_good_position bigint NOT NULL CHECK (last_good_position >= -1),
    reason text NOT NULL CHECK (reason <> ''),
    forked_at timestamptz NOT NULL DEFAULT now()
);

-- Gives the log a new incarnation and returns it. Removes nothing: the log has to end at the position
-- that is named, so that nobody forks what they did not look at.
CREATE FUNCTION nexplane.fork_log(last_good bigint, why text) RETURNS uuid
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last bigint;
    old uuid;
    new uuid := gen_random_uuid();
BEGIN
    SELECT h.next_position - 1, h.incarnation INTO STRICT last, old
    FROM nexplane.log_head h WHERE h.only_row FOR UPDATE;
    IF last <> last_good THEN
        RAISE EXCEPTION 'the log ends at position %, not at %', last, last_good
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    INSERT INTO nexplane.log_forks (incarnation, previous, last_good_position, reason)
    VALUES (new, old, last_good, why);
    UPDATE nexplane.log_head SET incarnation = new WHERE only_row;
    RETURN new;
END
$$;

ALTER TABLE nexplane.log_forks OWNER TO nexplane_log_owner;
ALTER FUNCTION nexplane.fork_log(bigint, text) OWNER TO nexplane_log_owner;
REVOKE ALL ON FUNCTION nexplane.fork_log(bigint, text) FROM PUBLIC;
SELECT nexplane.protect('nexplane.log_forks');
GRANT SELECT ON nexplane.log_forks TO nexplane_app, nexplane_seal, nexplane_read;
