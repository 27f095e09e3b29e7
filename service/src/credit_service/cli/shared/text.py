"""Text for terminals: ages, and characters that a terminal would obey."""

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def safe(text: str) -> str:
    """The text with every character that does not print replaced by its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def age(seconds: int) -> str:
    """A duration in the largest unit that fits."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
