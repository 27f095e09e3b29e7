-- Moves the set-aside rows $1 to the dropped ones, with the operator $2 and the reason $3.
WITH dropped AS (
    DELETE FROM credits.outbox_set_aside
    WHERE outbox_id = any($1::bigint []) AND cause IS NOT NULL
    RETURNING outbox_id, topic, key, event_id, dead_letter_id, cause, set_aside_at
)

INSERT INTO credits.outbox_dropped (
    outbox_id, topic, key, event_id, dead_letter_id, cause, set_aside_at, dropped_at, operator, reason
)
SELECT
    outbox_id, topic, CASE WHEN dead_letter_id IS NULL THEN key END, event_id, dead_letter_id, cause, set_aside_at,
    credits.ledger_now(), $2, $3
FROM dropped;
