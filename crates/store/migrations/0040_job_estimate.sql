-- The jobs that wait for somebody to say what they take.
CREATE INDEX job_to_estimate ON job (create_time_ms, key)
    WHERE state = 'PENDING' AND record ->> '$.estimate.kind' = 'waiting';
