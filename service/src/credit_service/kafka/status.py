"""What the running service says of itself: readiness looks here."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Status:
    """Empty `problems` means ready; each names in plain words what is missing, by the part that misses it."""

    problems: dict[str, str] = field(default_factory=lambda: {"start": "starting"})

    def set(self, part: str, problem: str | None) -> bool:
        """Notes what `part` misses, or that it misses nothing; True if that is news."""
        if problem is None:
            return self.problems.pop(part, None) is not None
        news = self.problems.get(part) != problem
        self.problems[part] = problem
        return news
