-- Whose turn it is at a target: the run with the lowest ticket of all that want it. A run takes one
-- ticket for all of its targets, and leaves when it has ended; what it does between is in the log.

CREATE SEQUENCE nexplane.target_tickets;

CREATE TABLE nexplane.target_queue (
    asset  uuid NOT NULL,
    run    uuid NOT NULL,
    change uuid NOT NULL,
    ticket bigint NOT NULL,
    PRIMARY KEY (asset, ticket)
);
CREATE INDEX target_queue_run ON nexplane.target_queue (run);

GRANT USAGE ON nexplane.target_tickets TO nexplane_app;
GRANT SELECT, INSERT, DELETE ON nexplane.target_queue TO nexplane_app;
