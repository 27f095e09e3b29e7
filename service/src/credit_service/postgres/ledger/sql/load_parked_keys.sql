-- Those of the given keys that are parked, with their content.
SELECT p.account_no, p.key, p.content
FROM unnest($1::integer [], $2::bytea []) AS asked (account_no, key)
JOIN credits.parked_events AS p ON p.account_no = asked.account_no AND p.key = asked.key;
