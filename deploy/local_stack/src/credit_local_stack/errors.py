"""What can go wrong in a way that a person can mend."""


class StackError(Exception):
    """The servers could not be started, or one of them does not do what it was asked for."""


class NoDockerError(StackError):
    """Containers were asked for, and no Docker daemon answers."""


class UsageError(StackError):
    """What was asked for contradicts itself: arguments or environment variables."""
