DROP TABLE job_events;
DROP FUNCTION tell_job_event();
DROP TABLE jobs;
DROP FUNCTION tell_job_deleted();
