-- How many events of how many accounts wait for a first plan, and for how long the oldest has. Not those of accounts
-- that are being opened.
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
