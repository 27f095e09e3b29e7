-- Notifies the leader that rows wait.
SELECT pg_notify($1, '');
