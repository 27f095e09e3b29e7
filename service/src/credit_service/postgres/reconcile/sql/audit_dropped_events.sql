-- The events that operators have dropped, with operator, time and reason.
SELECT event_id, operator, dropped_at, reason
FROM credits.outbox_dropped
WHERE event_id IS NOT NULL;
