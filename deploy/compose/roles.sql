-- Run once, when the database of the compose file is made: the users of the service, each in a role of few rights.
-- deploy/POSTGRES_ACCESS.md says what each may do. The passwords are for this machine only.
CREATE ROLE credits_owner NOLOGIN;
CREATE ROLE credits_service NOLOGIN;
CREATE ROLE credits_relay NOLOGIN;
CREATE ROLE credits_reader NOLOGIN;
CREATE ROLE ledger_migrations LOGIN PASSWORD 'local-only' IN ROLE credits_owner;
CREATE ROLE ledger_service LOGIN PASSWORD 'local-only' IN ROLE credits_service;
CREATE ROLE ledger_relay LOGIN PASSWORD 'local-only' IN ROLE credits_relay;
CREATE ROLE ledger_reader LOGIN PASSWORD 'local-only' IN ROLE credits_reader;
CREATE DATABASE ledger OWNER ledger_migrations;
GRANT CREATE ON DATABASE ledger TO credits_owner;
REVOKE ALL ON DATABASE ledger FROM PUBLIC, credits_service, credits_relay, credits_reader;
GRANT CONNECT ON DATABASE ledger TO ledger_service, ledger_relay, ledger_reader;
