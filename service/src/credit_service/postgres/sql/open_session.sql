-- Applies the settings of a session, and identifies its server: a pooler before the server takes no startup parameters.
SELECT pg_backend_pid() AS backend, pg_postmaster_start_time() AS server, count(set_config(name, value, false))
FROM unnest($1::text[], $2::text[]) AS setting (name, value)
