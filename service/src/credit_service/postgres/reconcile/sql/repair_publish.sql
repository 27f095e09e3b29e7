-- Adds an event to the outbox, unless it waits there already or an operator has dropped it.
INSERT INTO credits.outbox (topic, key, event_id, event_time, payload)
SELECT $1, $2, $3, $4, $5
WHERE NOT EXISTS (SELECT FROM credits.outbox WHERE topic = $1 AND event_id = $3)
    AND NOT EXISTS (SELECT FROM credits.outbox_set_aside WHERE topic = $1 AND event_id = $3)
    AND NOT EXISTS (SELECT FROM credits.outbox_dropped WHERE topic = $1 AND event_id = $3)
RETURNING outbox_id;
