-- The events that wait to be published, oldest first, with those that are set aside and those that wait behind these.
SELECT topic, event_id
FROM (
    SELECT outbox_id, topic, event_id FROM credits.outbox WHERE event_id IS NOT NULL
    UNION ALL
    SELECT outbox_id, topic, event_id FROM credits.outbox_set_aside WHERE event_id IS NOT NULL
) AS waiting
ORDER BY outbox_id;
