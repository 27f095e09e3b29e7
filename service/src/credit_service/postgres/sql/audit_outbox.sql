-- What waits to be published, oldest first.
SELECT topic, event_id
FROM credits.outbox
WHERE event_id IS NOT NULL
ORDER BY outbox_id;
