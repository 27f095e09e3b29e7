"""The service looks at itself: what waits, whether it comes on, and what to say or do when it does not."""
