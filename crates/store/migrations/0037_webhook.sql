CREATE TABLE webhook (
    account        TEXT NOT NULL,
    id             TEXT NOT NULL,
    create_time_ms INTEGER NOT NULL,
    record         TEXT NOT NULL,
    PRIMARY KEY (account, id)
) STRICT;

-- What webhooks are still to be told. A row is written with what it tells, and goes when it was delivered or given up.
CREATE TABLE webhook_delivery (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    account         TEXT NOT NULL,
    webhook         TEXT NOT NULL,
    -- What is told of one job is told in order.
    job_key         INTEGER NOT NULL,
    message_id      TEXT NOT NULL,
    body            TEXT NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    create_time_ms  INTEGER NOT NULL,
    next_attempt_ms INTEGER NOT NULL,
    FOREIGN KEY (account, webhook) REFERENCES webhook (account, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX webhook_delivery_due ON webhook_delivery (next_attempt_ms, seq);
CREATE INDEX webhook_delivery_of ON webhook_delivery (account, webhook, job_key, seq);
