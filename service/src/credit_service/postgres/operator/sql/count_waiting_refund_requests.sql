-- The count of waiting refund requests of account $1, or of all accounts, and the time of the clock.
SELECT
    (SELECT count(*) FROM credits.refund_requests WHERE status = 'waiting' AND ($1::integer IS NULL OR account_no = $1)),
    credits.ledger_now();
