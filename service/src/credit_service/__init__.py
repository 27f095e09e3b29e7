"""The credit service: prospects and plans come in from Kafka, a ledger of credits is kept in Postgres."""
