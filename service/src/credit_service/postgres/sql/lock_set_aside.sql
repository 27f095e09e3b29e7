-- Waits until no other transaction moves rows between the outbox and the set-aside rows; held until the transaction
-- ends.
SELECT pg_advisory_xact_lock($1);
