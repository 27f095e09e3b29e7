-- The last number that an account was given: the first that has none is refused.
SELECT coalesce(max(account_no), 0) FROM credits.accounts;
