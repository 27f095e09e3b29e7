-- The dead letters of the given places, at most $4 for each.
SELECT l.topic, l.partition, l."offset", l.dead_letter_id, l.reason, l.status::text, l.outcome
FROM unnest($1::text [], $2::integer [], $3::bigint []) AS asked (topic, partition, "offset")
CROSS JOIN LATERAL (
    SELECT * FROM credits.dead_letters AS d
    WHERE d.topic = asked.topic AND d.partition = asked.partition AND d."offset" = asked."offset"
    LIMIT $4
) AS l
ORDER BY l.dead_letter_id;
