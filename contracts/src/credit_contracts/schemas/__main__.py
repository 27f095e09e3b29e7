"""`python -m credit_contracts.schemas [write|check]`."""

import argparse
import sys
from pathlib import Path

from credit_contracts.schemas import file_name, generate, rendered
from credit_contracts.schemas.check import breaks, unwritten


def main(folder: Path) -> int:
    """Return 1 if something breaks, or is unwritten."""
    parser = argparse.ArgumentParser(prog="python -m credit_contracts.schemas")
    parser.add_argument(
        "command",
        nargs="?",
        choices=["write", "check"],
        default="write",
        help="write (the default) makes a new version where messages have changed, unless it breaks others; "
        "check writes nothing",
    )
    arguments = parser.parse_args()
    problems = list(breaks())
    if arguments.command == "check":
        problems += unwritten()
    elif not problems:
        for topic, body in generate().items():
            version = int(body["$id"].rpartition(":v")[2])
            (folder / file_name(topic, version)).write_text(rendered(body), "utf-8")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


sys.exit(main(Path(__file__).parent))
