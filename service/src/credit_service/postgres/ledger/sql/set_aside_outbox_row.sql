-- Sets the row $1 aside, which Kafka refuses because of $2, until an operator decides on it.
WITH taken AS (
    DELETE FROM credits.outbox
    WHERE outbox_id = $1
    RETURNING outbox_id, topic, key, event_id, event_time, payload, dead_letter_id, trace
)

INSERT INTO credits.outbox_set_aside (
    outbox_id, topic, key, event_id, event_time, payload, dead_letter_id, trace, cause, set_aside_at
)
SELECT outbox_id, topic, key, event_id, event_time, payload, dead_letter_id, trace, $2, credits.ledger_now()
FROM taken;
