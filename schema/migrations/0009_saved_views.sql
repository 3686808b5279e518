-- Named filters of the list of changes, of each person, in their order: [{"name": …, "query": …}].
--
-- Not in the log: they decide nothing, nobody audits them, and they go with the person's entry.
ALTER TABLE nexplane.people ADD COLUMN views jsonb NOT NULL DEFAULT '[]';
