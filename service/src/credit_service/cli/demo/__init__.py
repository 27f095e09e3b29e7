"""A believable day of four customers, played through real servers and the real service, and checked."""
