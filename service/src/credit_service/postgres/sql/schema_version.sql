-- The newest migration that the database has.
SELECT max(version)
FROM public.schema_migrations;
