-- The count of events that wait to be published, up to $1, and the age of the oldest of the first $2.
SELECT
    (SELECT count(*) FROM (SELECT outbox_id FROM credits.outbox ORDER BY outbox_id LIMIT $1) AS counted),
    (
        SELECT extract(EPOCH FROM credits.ledger_now() - min(coalesce(o.event_time, d.created_at)))::float8
        FROM (
            SELECT event_time, dead_letter_id FROM credits.outbox ORDER BY outbox_id LIMIT $2
        ) AS o
        LEFT JOIN LATERAL (
            SELECT created_at FROM credits.dead_letters WHERE dead_letter_id = o.dead_letter_id LIMIT 1
        ) AS d ON true
    );
