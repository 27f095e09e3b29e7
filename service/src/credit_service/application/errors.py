"""The faults of processing, by how they are handled."""


class LedgerUnavailable(Exception):  # noqa: N818 - reads as the condition that it reports
    """The database did not answer in time; whatever was committed shows in the stored offsets."""


class OutOfTime(LedgerUnavailable):
    """A transaction took longer than it may; whatever was committed shows in the stored offsets.

    A smaller one may be fast enough. One that cannot be smaller is retried as if the database were away: then the
    database is slow, whatever its work.
    """


class AccessDenied(LedgerUnavailable):
    """The database denies this role a login or a privilege: no fault of the data; a person has to correct it.

    The work is retried as if the database were away, so that nothing has to be restarted afterwards.
    """


class ReadOnly(AccessDenied):
    """The database takes no writes: it is a standby, or another server has taken over from it.

    Reported like a denial. It ends without a person once the address leads to the server that has taken over.
    """


class NoPassword(AccessDenied):
    """The file or program with the database's password did not provide it; the message names the setting.

    It is read again for the next new connection.
    """


class SessionsShared(AccessDenied):
    """A pooler in front of the database gives one session to several clients: the service cannot use it."""


class InputsRefused(Exception):  # noqa: N818
    """Some of the inputs of a transaction can never be stored; the others can, without them."""


class RefusedByLedger(InputsRefused):
    """The database refuses what it was given (SQLSTATE class 22 or 23), and would do so again."""

    def __init__(self, sqlstate: str, constraint: str | None) -> None:
        super().__init__(sqlstate, constraint)
        self.sqlstate = sqlstate
        self.constraint = constraint


class Undecidable(InputsRefused):
    """The rules themselves failed on these events: a defect, which must not hold back the others."""


class OffsetsMoved(Exception):  # noqa: N818
    """The stored offsets are not the member's: another member went on, or the answer to a commit was lost."""


class Abandoned(Exception):  # noqa: N818
    """The batch was given up uncommitted, because its partitions are revoked or the service is ending."""
