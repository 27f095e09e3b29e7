-- The events that people have dropped: who, when, and why.
SELECT event_id, operator, dropped_at, reason
FROM credits.outbox_dropped
WHERE event_id IS NOT NULL;
