-- Waits until nobody else moves rows between the outbox and what is set aside; held until the transaction ends.
SELECT pg_advisory_xact_lock($1);
