-- migrate:up

-- An account has so many numbers for its decisions, balance changes and grants. Those that have used most of them are
-- noted when they are written, so that whoever looks need not go through all accounts: an index on what almost every
-- batch changes would have each account's row written to its indexes every time.
SET LOCAL lock_timeout = '5s';

CREATE TABLE credits.accounts_filling (
    noted_at timestamptz NOT NULL,
    account_no integer PRIMARY KEY
);
ALTER TABLE credits.accounts_filling OWNER TO credits_owner;

GRANT SELECT, INSERT ON credits.accounts_filling TO credits_service;
GRANT SELECT ON credits.accounts_filling TO credits_reader;

-- Behind what the rules refuse. Readers of JSON may know no whole numbers beyond it.
ALTER TABLE credits.accounts
    ADD CONSTRAINT balance_fits_in_json CHECK (balance <= 9007199254740991) NOT VALID;

-- migrate:down

DO $$ BEGIN RAISE EXCEPTION 'migrations run forward only'; END $$;
