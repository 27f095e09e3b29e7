-- The accounts that decided something from the given spans of topics, or of itself from $5 up to but without $6.
SELECT DISTINCT d.account_no
FROM credits.decisions AS d
WHERE EXISTS (
    SELECT FROM unnest($1::text [], $2::integer [], $3::bigint [], $4::bigint []) AS span (topic, partition, first, past)
    WHERE d.type::text = span.topic AND d.partition = span.partition AND d."offset" >= span.first
        AND d."offset" < span.past
) OR (
    d.partition IS NULL AND d.decided_at >= $5::timestamptz AND d.decided_at < coalesce($6::timestamptz, 'infinity')
);
