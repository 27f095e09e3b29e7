-- The set-aside ones of the rows $1, with the keys of their accounts.
SELECT outbox_id, CASE WHEN dead_letter_id IS NULL THEN key END AS key
FROM credits.outbox_set_aside
WHERE cause IS NOT NULL AND outbox_id = any($1::bigint []);
