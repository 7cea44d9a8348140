-- Lists of an account by time, by state, or both.
CREATE INDEX job_by_time ON job (account, create_time_ms, id) WHERE state <> 'DELETING';
CREATE INDEX job_by_state ON job (account, state, create_time_ms, id) WHERE state <> 'DELETING';
CREATE INDEX dataset_by_time ON dataset (account, create_time_ms, id);
CREATE INDEX model_by_time ON model (account, create_time_ms, id);
