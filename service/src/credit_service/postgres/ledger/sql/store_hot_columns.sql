-- Updates accounts of which only balance, sequence and position have changed, as those of most events.
UPDATE credits.accounts AS a
SET balance = new.balance, sequence = new.sequence, position = new.position
FROM unnest($1::integer [], $2::bigint [], $3::integer [], $4::integer []) AS new (
    account_no, balance, sequence, position
)
WHERE a.account_no = new.account_no;
