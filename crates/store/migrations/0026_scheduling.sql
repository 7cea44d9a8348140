-- The line in which a job waits: what it is for, and the reservation that it uses.
ALTER TABLE job ADD COLUMN lane TEXT NOT NULL DEFAULT '/';

-- The oldest of each line.
CREATE INDEX job_waiting ON job (account, lane, create_time_ms, key) WHERE state IN ('PENDING', 'RE_QUEUEING');

-- How much trainers have worked for an account lately.
CREATE TABLE account_usage (
    account        TEXT PRIMARY KEY,
    work_ms        INTEGER NOT NULL,
    time_ms        INTEGER NOT NULL
) STRICT;
