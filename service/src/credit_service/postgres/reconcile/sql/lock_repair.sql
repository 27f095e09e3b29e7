-- True for the one connection that may repair, as long as it lives.
SELECT pg_try_advisory_lock($1);
