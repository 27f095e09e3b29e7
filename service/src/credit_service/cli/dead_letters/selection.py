"""Which dead letters a command is about: by number, by topic and reason, or all."""

from typing import TYPE_CHECKING

from credit_service.cli.shared.connections import kafka_of, writing_pool
from credit_service.cli.shared.errors import WrongUse
from credit_service.cli.shared.output import say
from credit_service.cli.shared.run import run
from credit_service.cli.shared.text import age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credit_service.application.dead_letters.model import Letters
    from credit_service.postgres.operator.dead_letters import PostgresDeadLetters
    from credit_service.postgres.pool import Pool
    from credit_service.settings import Settings


def selected(
    settings: "Settings", ids: "Sequence[int] | None", topic: str | None, because: str | None, *, everything: bool
) -> "Letters":
    """Letters by their numbers, or one group; raises `WrongUse` for anything else."""
    from credit_service.application.dead_letters.desk import IDS_MAX
    from credit_service.application.dead_letters.model import Letters

    ways = [bool(ids), topic is not None or because is not None, everything]
    if sum(ways) != 1:
        raise WrongUse("say which: either numbers, or --topic and --because, or --all")
    if ids and len(ids) > IDS_MAX:
        raise WrongUse(f"at most {IDS_MAX:,} numbers at a time")
    return Letters(ids=list(dict.fromkeys(ids))) if ids else group_of(settings, topic, because)


def group_of(settings: "Settings", topic: str | None, because: str | None) -> "Letters":
    """The letters of a topic, with a reason, or both; all letters if neither is given."""
    from credit_contracts.dead_letters import REASONS
    from credit_contracts.topics import INCOMING_TOPICS
    from credit_service.application.dead_letters.model import Letters

    name = None if topic is None else kafka_of(settings).event_type(topic)
    if name is not None and name not in INCOMING_TOPICS:
        raise WrongUse(f"--topic: {topic} is no incoming topic: one of {', '.join(INCOMING_TOPICS)}")
    if because is not None and because not in REASONS:
        raise WrongUse(f"--because: {because} is no reason: one of {', '.join(REASONS)}")
    return Letters(topic=name, reason=because)


def count_and_show(settings: "Settings", letters: "Letters") -> int:
    """Counts the letters; those of a group are shown by topic and reason."""

    async def count() -> int:
        async with writing_pool(settings) as pool:
            kept = letters_in(settings, pool)
            if letters.ids is not None:
                known = await kept.states(letters.ids)
                if missing := [i for i in letters.ids if i not in known]:
                    raise WrongUse(f"there is no dead letter {missing[0]}")
                return len(letters.ids)
            groups = await kept.groups(letters, waiting_only=True)
        for group in groups:
            say(f"{group.letters:>9,}  {group.topic}, {group.reason}, the oldest {age(group.oldest_seconds)} ago")
        if not groups:
            say("No dead letter waits.")
        return sum(group.letters for group in groups)

    return run(count())


def in_words(count: int) -> str:
    """A number of dead letters, for a question."""
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def letters_in(settings: "Settings", pool: "Pool") -> "PostgresDeadLetters":
    """The dead letters in the database."""
    from credit_service.postgres.operator.dead_letters import PostgresDeadLetters

    return PostgresDeadLetters(pool, unparked_max=settings.rules.unparked_max, topic_prefix=settings.topic_prefix)
