"""`credits refunds`: list, show, approve and reject refund requests."""
