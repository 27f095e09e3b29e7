-- Deletes the claim $1; its rows wait again.
DELETE FROM credits.outbox_claim
WHERE claim_id = $1;
