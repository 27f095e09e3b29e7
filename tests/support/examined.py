"""The findings of `credits doctor`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from support.credits import run_credits
from support.replays import settings_of

if TYPE_CHECKING:
    from support.service import Deployment


class Examined:
    """One `credits doctor`."""

    def __init__(self, exit_code: int, out: str, said: str) -> None:
        self.exit_code = exit_code
        self.said = said
        told = json.loads(out)
        self.state = told["state"]
        self.checks: dict[str, dict[str, Any]] = {check["name"]: check for check in told["checks"]}
        assert len(self.checks) == len(told["checks"])
        assert all((check["what_to_do"] is None) == (check["state"] == "ok") for check in told["checks"])

    @property
    def unwell(self) -> dict[str, str]:
        """State by name, of what is not ok."""
        return {name: check["state"] for name, check in self.checks.items() if check["state"] != "ok"}

    def told(self, name: str) -> str:
        said: str = self.checks[name]["told"]
        return said


async def doctor(deployment: Deployment, **settings: object) -> Examined:
    done = await asyncio.to_thread(
        run_credits,
        *("doctor", "--output", "json"),
        folder=deployment.folder,
        **settings_of(deployment) | settings,
    )
    assert "Traceback" not in done.stderr
    return Examined(done.returncode, done.stdout, done.stderr)
