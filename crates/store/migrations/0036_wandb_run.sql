-- Runs of Weights & Biases that jobs write, and how much of each was sent.
CREATE TABLE wandb_run (
    job_key        INTEGER PRIMARY KEY REFERENCES job (key) ON DELETE CASCADE,
    -- The key of the service, encrypted; NULL when nothing more is sent.
    sealed         TEXT,
    rows_sent      INTEGER NOT NULL DEFAULT 0,
    last_step      INTEGER,
    figures_sent   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX wandb_run_open ON wandb_run (job_key) WHERE sealed IS NOT NULL;
