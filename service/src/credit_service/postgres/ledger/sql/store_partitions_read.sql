-- Stores the instants up to which partition numbers are read (null in $2: to their ends, so up to now), and returns the
-- clock.
WITH noted AS (
    INSERT INTO credits.partitions_read AS known (partition, partitions, read_until, noted_at)
    SELECT number, $3, least(coalesce(until, credits.ledger_now()), credits.ledger_now()), credits.ledger_now()
    FROM unnest($1::integer [], $2::timestamptz []) AS read (number, until)
    -- One order, so that no two members deadlock.
    ORDER BY number
    ON CONFLICT (partition) DO UPDATE
    SET partitions = excluded.partitions, read_until = excluded.read_until, noted_at = excluded.noted_at
)

SELECT credits.ledger_now();
