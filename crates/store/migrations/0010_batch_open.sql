-- What the runner of batch inference looks for, however many jobs are at their end.
CREATE INDEX batch_inference_job_open ON batch_inference_job (create_time_ms, account, id)
    WHERE record ->> '$.state' NOT IN ('COMPLETED', 'FAILED');
