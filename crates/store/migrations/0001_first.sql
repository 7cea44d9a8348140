-- What is searched or sorted by stands in columns; the rest of a resource is its record, as JSON.
CREATE TABLE account (
    id             TEXT PRIMARY KEY,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL
) STRICT;

CREATE TABLE api_key (
    key_id         TEXT PRIMARY KEY,
    account        TEXT NOT NULL REFERENCES account (id),
    sha256         BLOB NOT NULL UNIQUE,
    record         TEXT NOT NULL
) STRICT;

CREATE TABLE dataset (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE TABLE model (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

CREATE TABLE job (
    key            INTEGER PRIMARY KEY AUTOINCREMENT,
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    state          TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL
) STRICT;

-- A deleted job is hidden at once and cleaned up later; its id is free in between.
CREATE UNIQUE INDEX job_name ON job (account, id) WHERE state <> 'DELETING';
CREATE INDEX job_state ON job (state);

CREATE TABLE job_event (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    job_key        INTEGER NOT NULL REFERENCES job (key) ON DELETE CASCADE,
    time_ms        INTEGER NOT NULL,
    event          TEXT NOT NULL,
    from_state     TEXT NOT NULL,
    to_state       TEXT NOT NULL,
    message        TEXT NOT NULL
) STRICT;

CREATE INDEX job_event_of ON job_event (job_key, seq);
