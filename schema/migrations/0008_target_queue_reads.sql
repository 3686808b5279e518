-- A run also asks for what its targets are related to, to read it: reading is shared, writing is not.
ALTER TABLE nexplane.target_queue ADD COLUMN reads boolean NOT NULL DEFAULT false;
