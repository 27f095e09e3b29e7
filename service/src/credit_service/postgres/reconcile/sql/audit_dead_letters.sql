-- The waiting dead letters of the given spans.
SELECT l.dead_letter_id, l.topic, l.partition, l."offset", l.reason, l.account_id
FROM unnest($1::text [], $2::integer [], $3::bigint [], $4::bigint []) AS span (topic, partition, first, past)
JOIN credits.dead_letters AS l
    ON l.topic = span.topic AND l.partition = span.partition AND l."offset" >= span.first AND l."offset" < span.past
WHERE l.status = 'waiting'
ORDER BY l.dead_letter_id;
