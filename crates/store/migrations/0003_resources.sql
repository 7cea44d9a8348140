-- Resources that are one record each; those that restart or list by time have an index for it.
CREATE TABLE user (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX user_by_time ON user (account, create_time_ms, id);

CREATE TABLE secret (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX secret_by_time ON secret (account, create_time_ms, id);

CREATE TABLE deployment (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX deployment_by_time ON deployment (account, create_time_ms, id);

CREATE TABLE deployed_model (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX deployed_model_by_time ON deployed_model (account, create_time_ms, id);

CREATE TABLE dataset_validation_job (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX dataset_validation_job_by_time ON dataset_validation_job (account, create_time_ms, id);

CREATE TABLE batch_inference_job (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX batch_inference_job_by_time ON batch_inference_job (account, create_time_ms, id);

CREATE TABLE operation (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE INDEX operation_by_time ON operation (account, create_time_ms, id);

-- Keys of an account, in the order in which lists show them.
CREATE INDEX api_key_by_account ON api_key (account, key_id);
