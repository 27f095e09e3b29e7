-- The highest account number: the first account without a number is refused.
SELECT coalesce(max(account_no), 0) FROM credits.accounts;
