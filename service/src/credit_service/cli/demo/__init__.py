"""A believable day of four customers, played through a real Kafka, a real Postgres and the real service, and checked."""
