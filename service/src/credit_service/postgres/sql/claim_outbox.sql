-- Claims the oldest rows, up to so many and about so many bytes, under a new id.
INSERT INTO credits.outbox_claim (claim_id, outbox_ids, claimed_at)
SELECT $1, array_agg(outbox_id ORDER BY outbox_id), credits.ledger_now()
FROM (
    SELECT
        outbox_id,
        sum(size) OVER (ORDER BY outbox_id) - size AS bytes_before
    FROM (
        SELECT
            o.outbox_id,
            coalesce(octet_length(o.payload), octet_length(d.value), 0) AS size
        FROM credits.outbox AS o
        LEFT JOIN credits.dead_letters AS d USING (dead_letter_id)
        ORDER BY o.outbox_id
        LIMIT $2
    ) AS oldest
) AS sized
WHERE bytes_before < $3
HAVING count(*) > 0;
