"""`credits migrate`."""

from credit_service.cli.faults import Failed
from credit_service.cli.output import say
from credit_service.cli.run import run, settings_or_exit


def migrate() -> None:
    """Bring the database to the schema that this service needs; forward only, and safe to repeat.

    Example: [cyan]credits migrate[/]
    """
    settings = settings_or_exit()
    from credit_service.application.errors import NoPassword
    from credit_service.postgres.address import Addresses
    from credit_service.postgres.migrate import MigrationFailed, newest_version, require_access
    from credit_service.postgres.migrate import migrate as run_migrations

    address = Addresses.of(settings).migrations
    run(require_access(address))
    try:
        said = run_migrations(address)
    except NoPassword as error:
        raise Failed(str(error)) from None
    except MigrationFailed as error:
        lines = str(error).splitlines()
        raise Failed(f"the database was not migrated: {lines[-1].removeprefix('Error: ')}") from None
    if said:
        say(said)
    say(f"The database is at version {newest_version()}.")
