-- Accounts whose next timer is due, soonest first, with the instant up to which timers may run. $1 holds, by partition
-- number, the event time that all topics have passed (null: the number is not of interest). Where $2 says that all
-- topics are read to their ends, the clock less a grace counts instead.
SELECT account_id, up_to
FROM (
    SELECT
        account_id,
        next_timer_at,
        CASE
            WHEN ($2::boolean [])[partition_hash % $3 + 1] THEN credits.ledger_now() - $4::interval
            -- `least` ignores nulls, so numbers without interest are left out here.
            WHEN ($1::timestamptz [])[partition_hash % $3 + 1] IS NOT NULL
                -- More events of that very instant may come; a plan of a period's first instant belongs to the period.
                THEN least(
                    ($1::timestamptz [])[partition_hash % $3 + 1] - interval '1 microsecond', credits.ledger_now()
                )
        END AS up_to
    FROM credits.accounts
    WHERE next_timer_at <= credits.ledger_now() AND opening_since IS NULL
    ORDER BY next_timer_at
) AS due
WHERE next_timer_at <= up_to
LIMIT $5;
