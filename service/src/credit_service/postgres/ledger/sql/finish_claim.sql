-- Deletes the claim $1 and its published rows.
WITH finished AS (
    DELETE FROM credits.outbox_claim
    WHERE claim_id = $1
    RETURNING outbox_ids
)
DELETE FROM credits.outbox
USING finished
WHERE outbox_id = any(finished.outbox_ids);
