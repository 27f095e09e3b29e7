"""The limits of texts that operators give: their name, their reason, the id of a command."""

OPERATOR_CHARACTERS_MAX = 200
REASON_CHARACTERS_MAX = 1_000
COMMAND_ID_CHARACTERS_MAX = 128


def require_text(name: str, text: str, characters_max: int) -> None:
    """Raises `ValueError` unless `text` has between 1 and `characters_max` printable characters."""
    if not text.strip() or len(text) > characters_max or not text.isprintable():
        raise ValueError(f"{name}: between 1 and {characters_max} printable characters")
