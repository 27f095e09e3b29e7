"""What the running service says of itself: readiness looks here."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Status:
    """Empty `problems` means ready; each names in plain words what is missing, by the part that misses it.

    `degraded` has what neither a restart nor another member mends, since a person has to: it says so, and stays ready.
    """

    problems: dict[str, str] = field(default_factory=lambda: {"start": "starting"})
    degraded: dict[str, str] = field(default_factory=dict)

    def set(self, part: str, problem: str | None) -> bool:
        """Notes what `part` misses, or that it misses nothing; True if that is news."""
        return _note(self.problems, part, problem)

    def degrade(self, part: str, problem: str | None) -> bool:
        """Notes what of `part` waits for a person, or that nothing does; True if that is news."""
        return _note(self.degraded, part, problem)


def _note(noted: dict[str, str], part: str, problem: str | None) -> bool:
    if problem is None:
        return noted.pop(part, None) is not None
    news = noted.get(part) != problem
    noted[part] = problem
    return news
