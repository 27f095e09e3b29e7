-- The accounts with decisions on records of the given spans, or with decisions of their own from $5 to before $6.
SELECT DISTINCT d.account_no
FROM credits.decisions AS d
WHERE EXISTS (
    SELECT FROM unnest($1::text [], $2::integer [], $3::bigint [], $4::bigint []) AS span (topic, partition, first, past)
    WHERE d.type::text = span.topic AND d.partition = span.partition AND d."offset" >= span.first
        AND d."offset" < span.past
) OR (
    d.partition IS NULL AND d.decided_at >= $5::timestamptz AND d.decided_at < coalesce($6::timestamptz, 'infinity')
);
