-- Jobs that stopped early are at their end.
DROP INDEX job_open;
CREATE INDEX job_open ON job (create_time_ms, key)
    WHERE state NOT IN ('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'PAUSED');
DROP INDEX job_output;
CREATE INDEX job_output ON job (account, record ->> '$.settings.output_model.id')
    WHERE state NOT IN ('COMPLETED', 'EARLY_STOPPED', 'FAILED', 'CANCELLED', 'DELETING');
