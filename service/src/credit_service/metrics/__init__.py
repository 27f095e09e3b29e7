"""What the service counts and shows of itself. Labels are of few values; accounts are never among them."""
