-- Gives up the claim; its rows wait again.
DELETE FROM credits.outbox_claim;
