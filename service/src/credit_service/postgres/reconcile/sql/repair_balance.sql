-- Recomputes an account's balance from its entries.
UPDATE credits.accounts AS a
SET balance = (SELECT coalesce(sum(e.amount), 0) FROM credits.entries AS e WHERE e.account_no = a.account_no)
WHERE a.account_no = $1;
