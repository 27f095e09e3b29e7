-- Returns rows to their old places in the outbox: the rows $1, and the events of the keys $2 that wait behind them.
WITH let_go AS (
    DELETE FROM credits.outbox_set_aside
    WHERE outbox_id = any($1::bigint [])
        OR (dead_letter_id IS NULL AND cause IS NULL AND key = any($2::bytea []))
    RETURNING outbox_id, topic, key, event_id, event_time, payload, dead_letter_id, trace
)

INSERT INTO credits.outbox (outbox_id, topic, key, event_id, event_time, payload, dead_letter_id, trace)
OVERRIDING SYSTEM VALUE
SELECT outbox_id, topic, key, event_id, event_time, payload, dead_letter_id, trace
FROM let_go;
