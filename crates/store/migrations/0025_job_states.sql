-- More states are the end of a job than the first version of these indexes knew.
DROP INDEX job_open;
CREATE INDEX job_open ON job (create_time_ms, key)
    WHERE state NOT IN ('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'EXPIRED', 'PAUSED');

DROP INDEX job_output;
CREATE INDEX job_output ON job (account, record ->> '$.settings.output_model.id')
    WHERE state NOT IN ('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'EXPIRED', 'DELETING');
