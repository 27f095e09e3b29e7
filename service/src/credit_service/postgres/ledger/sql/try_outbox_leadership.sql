-- True for the one connection that may publish, as long as it lives.
SELECT pg_try_advisory_lock($1);
