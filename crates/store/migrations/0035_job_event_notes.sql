-- Each event has its number in its job's log, and what is no change of a state is kept as JSON.
ALTER TABLE job_event ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job_event ADD COLUMN note TEXT;
UPDATE job_event SET number = (
    SELECT count(*) FROM job_event AS earlier
    WHERE earlier.job_key = job_event.job_key AND earlier.seq <= job_event.seq
);
CREATE UNIQUE INDEX job_event_number ON job_event (job_key, number);
DROP INDEX job_event_of;
