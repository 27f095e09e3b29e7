-- The states of the given dead letters.
SELECT dead_letter_id, status::text, outcome, erased_at IS NOT NULL
FROM credits.dead_letters
WHERE dead_letter_id = any($1::bigint []);
