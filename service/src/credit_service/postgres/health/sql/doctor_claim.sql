-- The age of the relay's claim.
SELECT extract(EPOCH FROM credits.ledger_now() - claimed_at)::float8
FROM credits.outbox_claim;
