"""The faults of processing, by how they are handled."""


class LedgerUnavailable(Exception):  # noqa: N818 - reads as the condition that it reports
    """The database did not answer, or not in time; nothing was committed that the stored offsets do not tell."""


class OutOfTime(LedgerUnavailable):
    """A transaction took longer than it may; nothing was committed that the stored offsets do not tell.

    A smaller one may have the time. One that cannot be smaller is waited for like a database that is away: it is the
    database that is slow, whatever it was given.
    """


class AccessDenied(LedgerUnavailable):
    """The database does not let this role in, or not do what it must: no fault of any data; a person has to mend it.

    Waited for like a database that is away, so that nothing has to be started anew once it is mended.
    """


class ReadOnly(AccessDenied):
    """The database takes no writes from anybody: a standby, or one that another has taken over from.

    Said like a denial. It ends without a person where the address comes to lead to the server that has taken over.
    """


class NoPassword(AccessDenied):
    """The file or the program that has the password for the database did not tell it; one line that names its setting.

    It is asked again at the next new connection.
    """


class SessionsShared(AccessDenied):
    """What answers in the database's place gives one session to several clients: it can never be worked with."""


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
    """The stored offsets are not those this member went by: another one went on, or a commit got lost in transit."""


class Abandoned(Exception):  # noqa: N818
    """The batch was given up uncommitted, because its partitions are leaving or the service is ending."""
