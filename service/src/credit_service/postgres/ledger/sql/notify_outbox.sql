-- Tells the leader that something waits.
SELECT pg_notify($1, '');
