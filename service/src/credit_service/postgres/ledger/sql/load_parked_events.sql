-- The first $2 parked events of each of the given accounts, in order of occurrence.
SELECT
    p.account_no, p.key, p.content, p.source, p.id, p.type::text, p.occurred_at, p.data, p.partition, p."offset"
FROM unnest($1::integer []) AS asked (account_no)
CROSS JOIN LATERAL (
    SELECT *
    FROM credits.parked_events AS p
    WHERE p.account_no = asked.account_no
    ORDER BY p.account_no, p.occurred_at, p.type_rank, p.source COLLATE "C", p.id COLLATE "C"
    LIMIT $2
) AS p;
