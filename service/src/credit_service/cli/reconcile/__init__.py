"""`credits reconcile`: compare the topics with the ledger, and repair what differs."""
