-- What the scheduler looks at in every round, however many jobs are at their end.
CREATE INDEX job_open ON job (create_time_ms, key)
    WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'PAUSED');

-- Whether a model of this name is being made.
CREATE INDEX job_output ON job (account, record ->> '$.settings.output_model.id')
    WHERE state NOT IN ('COMPLETED', 'FAILED', 'CANCELLED', 'DELETING');
