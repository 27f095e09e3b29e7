-- True for the one connection that may repair, until it ends.
SELECT pg_try_advisory_lock($1);
