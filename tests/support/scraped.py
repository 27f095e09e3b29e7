"""The metrics of a running service at `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.service import ServiceProcess


class Seen:
    """What a scrape had, by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (s.name, *sorted(s.labels.items())): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self._samples.get((f"credits_{name}", *sorted(labels.items())))

    def values(self, name: str) -> Iterable[float]:
        return [value for key, value in self._samples.items() if key[0] == f"credits_{name}"]


async def scraped(service: ServiceProcess) -> Seen:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.health_port}", timeout=patience(10)) as client:
        return Seen((await client.get("/metrics")).text)
