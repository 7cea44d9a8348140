-- Which job is counted next is decided over the lines of waiting jobs, as what starts next is.
DROP INDEX job_to_estimate;
