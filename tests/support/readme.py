"""The code blocks of a README, as readers copy them."""

from __future__ import annotations

import re
from pathlib import Path

CONTRACTS = Path(__file__).parents[2] / "contracts"
README = (CONTRACTS / "README.md").read_text("utf-8")


def programs() -> dict[str, str]:
    """The programs of the contracts' README by the name of the file that each is to be saved as."""
    return dict(re.findall(r"^`(\w+\.py)`\n\n```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE))


def snippets() -> list[str]:
    """The code that is no program."""
    return re.findall(r"(?<!\.py`\n\n)^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
