-- Erases the bytes of dead letters, the hashes and sizes of bytes that were left out, and the keys of their rows that
-- are still to be published.
WITH erased AS (
    UPDATE credits.dead_letters
    SET
        key = NULL, value = NULL, headers = '[]', erased_at = credits.ledger_now(), erased_by = $2,
        content_sha256 = NULL, key_bytes = NULL, value_bytes = NULL, value_sha256 = NULL
    WHERE dead_letter_id = any($1::bigint []) AND erased_at IS NULL
    RETURNING dead_letter_id
),

unpublished AS (
    UPDATE credits.outbox
    SET key = NULL
    WHERE dead_letter_id IN (SELECT dead_letter_id FROM erased)
),

set_aside AS (
    UPDATE credits.outbox_set_aside
    SET key = NULL
    WHERE dead_letter_id IN (SELECT dead_letter_id FROM erased)
)

SELECT dead_letter_id
FROM erased;
