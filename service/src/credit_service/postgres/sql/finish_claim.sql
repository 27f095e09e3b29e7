-- Takes out what was published, and the claim on it.
WITH finished AS (
    DELETE FROM credits.outbox_claim
    RETURNING outbox_ids
)
DELETE FROM credits.outbox
USING finished
WHERE outbox_id = any(finished.outbox_ids);
