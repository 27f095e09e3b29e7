"""`make bench`: the service against its yardsticks, in one run, on one stack, repetitions interleaved."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import plots, results
from benchmarks.bench import Bench
from benchmarks.contenders import ContenderFailed
from benchmarks.deployment import Workshop
from benchmarks.group import GroupIncomplete
from benchmarks.machine import describe
from benchmarks.sizes import SIZES
from benchmarks.table import table
from benchmarks.watch import TooSlow
from credit_local_stack import Addresses
from credit_service.runtime.loop import run_in_loop


async def bench(mode: str, out: Path) -> None:
    """Measures, and writes what came out."""
    addresses = Addresses.given(os.environ)
    if addresses is None:
        raise SystemExit(
            "the bench needs both addresses in its environment; `make bench` starts a stack and gives them"
        )
    began = time.monotonic()
    machine = await describe(addresses.database_url)
    logs = out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(addresses)
    try:
        await workshop.start()
        run = Bench(SIZES[mode], workshop, logs)
        await run.run()
    finally:
        await workshop.close()
    figures, ratios = results.figures(run.measured), results.ratios(run.measured)
    seconds = round(time.monotonic() - began)
    written = {
        "mode": mode,
        "sizes": asdict(SIZES[mode]),
        "seconds": seconds,
        "seconds_by_part": {part: round(spent, 1) for part, spent in run.spent.items()},
        "machine": machine,
        "figures": figures,
        "ratios": ratios,
        "targets": results.targets(),
    }
    (out / "results.json").write_text(json.dumps(written, indent=2) + "\n")
    drawn = plots.draw(written, out)
    told = f"{mode} mode, {seconds} s; all of it, and {len(drawn)} pictures, in {out}"
    sys.stdout.write(f"{table(run.measured, figures, ratios)}\n\n{told}\n")


def main() -> int:
    """MODE=short (the default), MODE=full or MODE=tiny, from the environment."""
    parser = argparse.ArgumentParser(prog="benchmarks.run")
    parser.add_argument("--out", type=Path, required=True, help="the folder for results.json, the plots and the logs")
    out = parser.parse_args().out
    mode = os.environ.get("MODE") or "short"
    if mode not in SIZES:
        parser.error(f"MODE is {mode!r}: it can be {', '.join(SIZES)}")
    # It says of each partition of a new topic that it has no leader yet.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    try:
        run_in_loop(bench(mode, out))
    except (ContenderFailed, GroupIncomplete, TooSlow, TimeoutError) as error:
        sys.stderr.write(f"the bench ends here: {type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
