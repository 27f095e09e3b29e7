-- The count of events and accounts that wait for a first plan, and the age of the oldest event, without accounts whose
-- opening is not complete.
SELECT
    coalesce(sum(parked), 0)::bigint, count(*),
    (
        SELECT extract(EPOCH FROM credits.ledger_now() - min(waiting.parked_at))::float8
        FROM credits.parked_events AS waiting
        INNER JOIN credits.accounts AS owner ON waiting.account_no = owner.account_no
        WHERE owner.opening_since IS NULL
    )
FROM credits.accounts
WHERE parked > 0 AND opening_since IS NULL;
