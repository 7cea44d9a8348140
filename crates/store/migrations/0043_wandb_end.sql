-- When the service was told of the end of a job that can be resumed: the key is kept for a while, and the run goes on with
-- the job.
ALTER TABLE wandb_run ADD COLUMN end_told_ms INTEGER;
