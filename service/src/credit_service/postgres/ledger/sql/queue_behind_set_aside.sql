-- Moves events of accounts with rows that are set aside out of the oldest $1 rows of the outbox, to wait behind those.
-- The topics $2, the rows $3 and the events of the keys $4 are left alone, as in a claim.
WITH behind AS MATERIALIZED (
    SELECT o.outbox_id
    FROM (
        SELECT outbox_id, key, dead_letter_id
        FROM credits.outbox
        WHERE CASE
            WHEN topic = any($2::text []) OR outbox_id = any($3::bigint []) THEN false
            ELSE dead_letter_id IS NOT NULL OR key <> all($4::bytea [])
        END
        ORDER BY outbox_id
        LIMIT $1
    ) AS o
    WHERE o.dead_letter_id IS NULL AND (
        SELECT true FROM credits.outbox_set_aside AS s
        WHERE s.dead_letter_id IS NULL AND s.key = o.key
        LIMIT 1
    ) IS NOT NULL
),

taken AS (
    DELETE FROM credits.outbox AS o
    USING behind
    WHERE o.outbox_id = behind.outbox_id
    RETURNING o.outbox_id, o.topic, o.key, o.event_id, o.event_time, o.payload, o.trace
)

INSERT INTO credits.outbox_set_aside (outbox_id, topic, key, event_id, event_time, payload, trace, set_aside_at)
SELECT outbox_id, topic, key, event_id, event_time, payload, trace, credits.ledger_now()
FROM taken;
