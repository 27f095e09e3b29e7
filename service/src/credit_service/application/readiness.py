"""The problems of the running service, from which its readiness follows."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Status:
    """The service is ready while `problems` is empty; each is a text, by the part of the service that has it.

    `degraded` has problems that only a person can solve, not a restart or another member: the service stays ready.
    """

    problems: dict[str, str] = field(default_factory=lambda: {"start": "starting"})
    degraded: dict[str, str] = field(default_factory=dict)

    def set(self, part: str, problem: str | None) -> bool:
        """Sets or clears the problem of a part; True if it has changed."""
        return _note(self.problems, part, problem)

    def degrade(self, part: str, problem: str | None) -> bool:
        """Sets or clears the part's problem that waits for a person; True if it has changed."""
        return _note(self.degraded, part, problem)


def _note(noted: dict[str, str], part: str, problem: str | None) -> bool:
    if problem is None:
        return noted.pop(part, None) is not None
    has_changed = noted.get(part) != problem
    noted[part] = problem
    return has_changed
