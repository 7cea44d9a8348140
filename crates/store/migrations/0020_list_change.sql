-- Which rows of listed tables changed, in order; the last ones only. Triggers write it.
CREATE TABLE list_change (
    seq            INTEGER PRIMARY KEY,
    listed         TEXT NOT NULL,
    row            INTEGER NOT NULL
) STRICT;

-- Lists read their fields in memory.
DROP INDEX IF EXISTS job_list;
DROP INDEX job_by_time;
DROP INDEX job_by_state;
DROP INDEX dataset_by_time;
DROP INDEX model_by_time;
DROP INDEX user_by_time;
DROP INDEX secret_by_time;
DROP INDEX deployment_by_time;
DROP INDEX deployed_model_by_time;
DROP INDEX dataset_validation_job_by_time;
DROP INDEX batch_inference_job_by_time;
DROP INDEX operation_by_time;
