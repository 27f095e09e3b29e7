"""What the doctor makes of the facts: each function judges one thing. The thresholds are those of people on call."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from credit_contracts.topics import TOPICS, TopicContract
from credit_service import bounds
from credit_service.application.auth.tokens import Token
from credit_service.application.doctor.facts import (
    Backlog,
    BeingOpened,
    Bounds,
    ClusterFacts,
    Filling,
    Gap,
    MemberFacts,
    Missed,
    OpenOperation,
    Parked,
    ServerFacts,
    SetAside,
    TopicFacts,
    Unread,
    WaitingLetters,
)
from credit_service.application.ports import TopicPartition
from credit_service.domain.room import ACCOUNTS_MAX, FILLING

State = Literal["ok", "warning", "wrong"]

POSTGRES_VERSION_MIN = 18
"""What is tested; an older one may do."""
CLOCK_SECONDS_WARNING = 5.0
CLOCK_SECONDS_WRONG = 60.0
"""From five minutes on, events of this machine would be dead letters."""
IN_SYNC_MIN = 2
"""With three copies or more, so many have to have a message before it counts as written."""
LAG_MESSAGES_WARNING = 10_000
OUTBOX_SECONDS_WARNING = 60.0
OUTBOX_SECONDS_WRONG = 600.0
CLAIM_SECONDS_WARNING = 60.0
"""A transaction of the relay lasts a second or two."""
PARKED_SECONDS_WARNING = 3_600.0
OPENING_SECONDS_WARNING = 600.0
"""A batch of rows takes a second or two, and an account a batch for every 2,000 rows."""
TIMER_SECONDS_WARNING = 600.0
"""Timers wait ten seconds for late messages, and for topics that are not read to their ends."""
OPERATION_SECONDS_WARNING = 3_600.0
RECENT_SECONDS = 30 * 24 * 3_600.0
"""What is recorded for good, gaps and operations that were killed, is told for so long."""
DAY_MS = 86_400_000
TOKEN_ENDS_WARNING = timedelta(days=14)
NAMED_MAX = 5
"""So many things are named in a line; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: how it stands, and what to do if it is not well."""

    name: str
    state: State
    told: str
    what_to_do: str | None = None


def ok(name: str, told: str) -> Check:
    """All is well."""
    return Check(name, "ok", told)


# --- the settings


def tokens(held: Sequence[Token], now: datetime) -> Check:
    """Whether the read API is open to anybody, and stays so."""
    if not held:
        return ok("tokens", "none, so the read API answers nobody")
    ending = [token.name for token in held if token.expires_at and token.expires_at <= now + TOKEN_ENDS_WARNING]
    if not ending:
        return ok("tokens", f"{len(held)} open the read API")
    told = f"expired, or about to be within {TOKEN_ENDS_WARNING.days} days: {_some(ending)}"
    return Check("tokens", "warning", told, "see `credits tokens list`; make new ones, then take these out")


# --- the database


def logins(others: int, failed: Mapping[str, str]) -> Check:
    """Whether the addresses other than the reader's let the service in; `failed` by the setting that has the URL."""
    if not failed:
        return ok("logins", f"addresses that let the service in, beside the reader's: {others or 'there are none'}")
    told = "; ".join(f"{variable}: {problem}" for variable, problem in failed.items())
    return Check("logins", "wrong", told, "mend these settings, or what they name")


def durability(server: ServerFacts) -> Check:
    """Whether what is committed stays so when the machine loses power, and whether it can be written at all."""
    if server.is_standby:
        return Check("durability", "wrong", "this is a standby, and cannot be written", "name the primary")
    off = {name: getattr(server, name) for name in ("fsync", "full_page_writes", "synchronous_commit")}
    if found := [name for name, value in off.items() if value == "off"]:
        told = f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} off: commits may be lost in a power cut"
        return Check("durability", "wrong", told, "turn on what is off, in Postgres or for this role")
    return ok("durability", f"fsync on, synchronous_commit {server.synchronous_commit}")


def version(server: ServerFacts) -> Check:
    """Whether the server is one that is tested."""
    if server.version_number // 10_000 < POSTGRES_VERSION_MIN:
        told = f"Postgres {server.version}; {POSTGRES_VERSION_MIN} is what is tested"
        return Check("database", "warning", told, "upgrade Postgres")
    return ok("database", f"Postgres {server.version}")


def clock(here: datetime, ledger: datetime, uncertain_seconds: float) -> Check:
    """How far this machine's clock is from the ledger's, the only one that counts."""
    seconds = (here - ledger).total_seconds()
    apart = max(0.0, abs(seconds) - uncertain_seconds)
    told = f"this machine is {abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the ledger's clock"
    if apart < CLOCK_SECONDS_WARNING:
        return ok("clock", told)
    state: State = "wrong" if apart >= CLOCK_SECONDS_WRONG else "warning"
    return Check("clock", state, told, "set both clocks by NTP; events too far ahead become dead letters")


# --- Kafka


def topics(cluster: ClusterFacts, names: Mapping[str, TopicContract], cursor: str) -> Check:
    """Whether every topic is there, with as many partitions as it has to have; `names` are those of the deployment."""
    if missing := [name for name in (*names, cursor) if name not in cluster.topics]:
        return Check("topics", "wrong", f"missing: {_some(missing)}", "run `credits topics create`")
    incoming = {name: cluster.topics[name].partitions for name, topic in names.items() if topic.direction == "in"}
    if len(set(incoming.values())) > 1:
        usual = Counter(incoming.values()).most_common(1)[0][0]
        told = _some([f"{name} {count}" for name, count in incoming.items() if count != usual])
        to_do = "give all incoming topics the same number: `kafka-topics --alter --partitions`"
        return Check("topics", "wrong", f"incoming topics have {usual} partitions, but {told}", to_do)
    if (count := cluster.topics[cursor].partitions) != 1:
        told = f"{cursor} has {count} partitions and must have 1"
        return Check("topics", "wrong", told, "end the services, delete it, and run `credits topics create`")
    return ok("topics", f"all {len(names) + 1} are there, the incoming ones with {max(incoming.values())} partitions")


def topic_settings(cluster: ClusterFacts, names: Mapping[str, TopicContract]) -> Check:
    """Whether the topics keep messages as the contracts say, and take those that the contracts allow."""
    wrong: list[str] = []
    less: list[str] = []
    for name, contract in names.items():
        if (topic := cluster.topics.get(name)) is not None:
            found = _settings_problems(topic, contract)
            (wrong if contract.direction == "in" or "compacted" in found else less).extend(f"{name} {p}" for p in found)
            if _has_other_timestamps(topic, contract):
                less.append(f"{name} has its producers' timestamps and should have {contract.timestamp_type}")
    if not wrong and not less:
        return ok("topic-settings", "retention, clean-up, sizes and timestamps are as the contracts say")
    to_do = "set it with `kafka-configs --alter`; the contracts say what is needed"
    return Check("topic-settings", "wrong" if wrong else "warning", _some([*wrong, *less]), to_do)


def _settings_problems(topic: TopicFacts, contract: TopicContract) -> list[str]:
    found = []
    retention_ms = int(topic.settings.get("retention.ms", contract.retention_ms))
    if 0 <= retention_ms < contract.retention_ms:
        found.append(
            f"keeps messages for {retention_ms / 86_400_000:.3g} of {contract.retention_ms // 86_400_000} days"
        )
    if "compact" in topic.settings.get("cleanup.policy", ""):
        found.append("is compacted")
    size = int(topic.settings.get("max.message.bytes", contract.max_message_bytes))
    if size < contract.max_message_bytes:
        found.append(f"takes {size:,} of {contract.max_message_bytes:,} bytes")
    return found


def _has_other_timestamps(topic: TopicFacts, contract: TopicContract) -> bool:
    """Whether a backlog is brought in order by what producers say: it may refuse less than it would have live."""
    wanted = contract.timestamp_type
    return wanted is not None and topic.settings.get("message.timestamp.type", wanted) != wanted


def access(missed: Missed) -> Check:
    """Whether Kafka has and allows what the service needs, as far as it logs in as this command does."""
    if missed.transactions is not None:
        to_do = "choose a Kafka, or a tier of it, that has transactions"
        return Check("access", "wrong", missed.transactions, to_do)
    if missed.rights is None:
        return ok("access", "Kafka allows all that the service needs")
    to_do = "`credits topics acls` lists what the service needs; nothing is amiss if it has a login of its own"
    return Check("access", "warning", f"a service with this login would not be allowed: {missed.rights}", to_do)


def replication(cluster: ClusterFacts) -> Check:
    """Whether a broker may be lost without losing messages."""
    wrong = [
        f"{name} has {topic.replicas} and needs {topic.settings['min.insync.replicas']} to be written"
        for name, topic in cluster.topics.items()
        if topic.replicas < int(topic.settings.get("min.insync.replicas", 1))
    ]
    single = [name for name, topic in cluster.topics.items() if topic.replicas == 1 and cluster.brokers > 1]
    behind = [name for name, topic in cluster.topics.items() if topic.in_sync < topic.replicas]
    loose = [
        name
        for name, topic in cluster.topics.items()
        if topic.replicas > IN_SYNC_MIN and int(topic.settings.get("min.insync.replicas", 1)) < IN_SYNC_MIN
    ]
    if wrong:
        return Check("replication", "wrong", _some(wrong), "add copies, or set min.insync.replicas lower")
    if behind:
        told = f"copies are not in sync: {_some(behind)}"
        return Check("replication", "warning", told, "look whether a broker is down")
    if single:
        told = f"one copy only, on {cluster.brokers} brokers: {_some(single)}"
        return Check("replication", "warning", told, "add copies with `kafka-reassign-partitions`")
    if loose:
        to_do = f"set it to {IN_SYNC_MIN} with `kafka-configs --alter`"
        return Check("replication", "warning", f"min.insync.replicas is below {IN_SYNC_MIN}: {_some(loose)}", to_do)
    fewest = min((topic.replicas for topic in cluster.topics.values()), default=0)
    brokers = f"{cluster.brokers} broker{'' if cluster.brokers == 1 else 's'}"
    return ok("replication", f"{fewest} cop{'y' if fewest == 1 else 'ies'} of each partition on {brokers}")


def members(found: Sequence[MemberFacts], group: str) -> Check:
    """Whether anybody decides anything, nobody else holds partitions, and no two processes have one name."""
    count = sum(member.is_ours for member in found)
    if strangers := [member for member in found if not member.is_ours and member.partitions]:
        told = _some([f"client id {one.client_id} on {one.host} has {one.partitions}" for one in strangers])
        to_do = "end them, or give them a group of their own: nobody decides what lies in those partitions"
        return Check("members", "wrong", f"strangers in group {group} hold partitions: {told}", to_do)
    if not count:
        return Check("members", "wrong", f"group {group} has no members: no service runs", "start `credits serve`")
    # Those without a name share the group's.
    of_one_name = Counter(member.client_id for member in found if member.is_ours and member.client_id != group)
    if twins := [f"{name} {times}" for name, times in sorted(of_one_name.items()) if times > 1]:
        told = f"several members in group {group} have one client id: {_some(twins)}"
        to_do = "give each process a CREDITS_INSTANCE_ID of its own: each that starts throws the other out"
        return Check("members", "warning", told, to_do)
    return ok("members", f"{count} in group {group}")


def lag(
    stored: Mapping[TopicPartition, int], bounds: Mapping[TopicPartition, Bounds], left_out: Collection[str]
) -> Check:
    """How many messages wait to be decided; markers of transactions count, too. Topics that are paused are left out."""
    waiting: Counter[str] = Counter()
    for partition, bound in bounds.items():
        if partition[0] not in left_out:
            waiting[partition[0]] += max(0, bound.end - max(stored.get(partition, 0), bound.first))
    told = _some([f"{topic} {count:,}" for topic, count in waiting.most_common() if count]) or "nothing"
    if waiting.total() < LAG_MESSAGES_WARNING:
        return ok("lag", f"waiting to be decided: {told}")
    to_do = "if it does not shrink: look at the service's log, or start more of them"
    return Check("lag", "warning", f"waiting to be decided: {told}", to_do)


def transactions(pinned: Mapping[TopicPartition, Bounds], seconds: float) -> Check:
    """Whether a transaction of some producer holds back what lies behind it; `pinned` have not moved for `seconds`."""
    if not pinned:
        return ok("transactions", "none stays open")
    told = [
        f"{topic}/{number} from offset {bounds.end} on, {bounds.written - bounds.end:,} messages"
        for (topic, number), bounds in sorted(pinned.items())
    ]
    to_do = (
        "have its producer end it; whose it is: `kafka-transactions.sh describe-producers --topic TOPIC --partition"
        " NUMBER`; if it hangs: `kafka-transactions.sh abort --topic TOPIC --partition NUMBER --start-offset OFFSET`"
    )
    return Check("transactions", "wrong", f"open for {seconds:.0f} s or longer: {_some(told)}", to_do)


def offsets(
    stored: Mapping[TopicPartition, int],
    bounds: Mapping[TopicPartition, Bounds],
    committed: Mapping[TopicPartition, int],
    of_topics_gone: Collection[TopicPartition] = (),
) -> Check:
    """Whether what comes next of each partition is still there, or there yet, and in the same topic."""
    if of_topics_gone:
        told = _some([f"{topic}/{number} at {stored.get((topic, number))}" for topic, number in sorted(of_topics_gone)])
        to_do = "nothing, if a service runs: it reads them from their beginnings and records gaps; else start one"
        return Check("offsets", "wrong", f"topics were made anew since they were read: {told}", to_do)
    eaten, beyond, ahead = [], [], []
    for partition, bound in sorted(bounds.items()):
        name, at = f"{partition[0]}/{partition[1]}", stored.get(partition)
        if at is None:
            continue
        if at < bound.first:
            eaten.append(f"{name} goes on at {at}, and begins at {bound.first}")
        elif at > bound.end:
            beyond.append(f"{name} goes on at {at}, and ends at {bound.end}")
        elif committed.get(partition, 0) > at:
            ahead.append(f"{name} {committed[partition]} instead of {at}")
    if eaten:
        to_do = "raise retention, then see `credits reconcile` for what was missed"
        return Check("offsets", "wrong", f"retention was faster than the service: {_some(eaten)}", to_do)
    if beyond:
        to_do = "if the topic was made anew, a service reads it from its beginning and records a gap"
        return Check("offsets", "wrong", f"stored offsets are not there: {_some(beyond)}", to_do)
    if ahead:
        to_do = "nothing: the stored ones count, and the service commits them to Kafka again"
        return Check("offsets", "warning", f"Kafka's offsets are ahead of the stored ones: {_some(ahead)}", to_do)
    return ok("offsets", f"{len(stored)} stored, all within their logs")


# --- what waits


def outbox(waiting: Backlog) -> Check:
    """Whether what was decided is published."""
    if not waiting.things or waiting.oldest_seconds is None:
        return ok("outbox", "nothing waits to be published")
    told = f"{_counted(waiting.things)} to be published, the oldest for {_age(waiting.oldest_seconds)}"
    if waiting.oldest_seconds < OUTBOX_SECONDS_WARNING:
        return ok("outbox", told)
    state: State = "wrong" if waiting.oldest_seconds >= OUTBOX_SECONDS_WRONG else "warning"
    return Check("outbox", state, told, "look for `relay` in the service's log")


def set_aside(found: Sequence[SetAside]) -> Check:
    """Whether Kafka refuses something, and a person has to look at it."""
    if not found:
        return ok("set-aside", "Kafka has refused nothing")
    told = [
        f"{one.outbox_id} of {one.topic} for {_age(one.age_seconds)} ({one.cause})"
        + (f" with {_counted(one.waiting)} behind" if one.waiting else "")
        for one in found
    ]
    to_do = "mend the topic or what it has against them, then `credits outbox retry`; else `credits outbox drop`"
    return Check("set-aside", "wrong", _some(told), to_do)


def claim(seconds: float | None) -> Check:
    """Whether a transaction of the relay hangs."""
    if seconds is None:
        return ok("claim", "no publishing is under way")
    if seconds < CLAIM_SECONDS_WARNING:
        return ok("claim", "a publishing is under way")
    to_do = "nothing, if a service runs: its relay ends it; else start one"
    return Check("claim", "warning", f"a publishing began {_age(seconds)} ago, and did not end", to_do)


def parked(waiting: Parked, hours_max: int) -> Check:
    """Whether accounts wait for their first plan for too long."""
    if not waiting.events or waiting.oldest_seconds is None:
        return ok("parked", "no events wait for a plan")
    told = f"{waiting.events:,} events of {waiting.accounts:,} accounts wait for their first plan"
    told += f", the oldest for {_age(waiting.oldest_seconds)}"
    if waiting.oldest_seconds < PARKED_SECONDS_WARNING:
        return ok("parked", told)
    to_do = f"have billing send the plans (`credits account list --parked`); dead letters after {hours_max} h"
    return Check("parked", "warning", told, to_do)


def openings(found: Sequence[BeingOpened]) -> Check:
    """Whether an account is half brought in: nothing else of it is decided until the rest has come."""
    if not found:
        return ok("openings", "no account is being opened")
    told = f"more is to come of {_some([f'{one.account_id} (for {_age(one.age_seconds)})' for one in found])}"
    if found[0].age_seconds < OPENING_SECONDS_WARNING:
        return ok("openings", told)
    to_do = "run the same `credits open` again; if its file is lost, a file with the account's own row alone ends it"
    return Check("openings", "warning", f"{told}; their events wait", to_do)


def timers(due: Backlog) -> Check:
    """Whether months turn and grants expire when they should."""
    if not due.things or due.oldest_seconds is None or due.oldest_seconds < TIMER_SECONDS_WARNING:
        return ok("timers", "none is overdue")
    told = f"{_counted(due.things)} accounts have a timer that is due, the oldest for {_age(due.oldest_seconds)}"
    return Check("timers", "warning", told, "they wait for topics to be read to their ends; see lag and members")


def accounts(filling: Sequence[Filling], last_account_no: int) -> Check:
    """Whether an account runs out of its numbers, or the ledger of those for accounts."""
    if last_account_no >= ACCOUNTS_MAX * FILLING:
        told = f"{int(last_account_no / ACCOUNTS_MAX * 100)} % of the {ACCOUNTS_MAX:,} numbers of accounts are used"
        state: State = "wrong" if last_account_no >= ACCOUNTS_MAX else "warning"
        return Check(
            "accounts", state, told, "see the runbook, CreditsAccountFilling: there can be no more accounts soon"
        )
    if not filling:
        return ok("accounts", f"none has used {FILLING * 100:.0f} % of its numbers")
    # Rounded down: only what is full is 100 %.
    told = _some([f"{one.account_id} {int(one.used * 100)} %" for one in filling])
    told = f"{_counted(filling[0].accounts)} have used {FILLING * 100:.0f} % of their numbers: {told}"
    to_do = "have their customers go on under other accounts: what is told of a full one becomes dead letters"
    return Check("accounts", "wrong" if filling[0].used >= 1 else "warning", told, to_do)


def dead_letters(waiting: Sequence[WaitingLetters]) -> Check:
    """Whether messages wait for a person."""
    if not waiting:
        return ok("dead-letters", "none waits")
    told = _some([f"{_counted(one.letters)} {one.reason}" for one in waiting])
    to_do = "see `credits dead-letters list`"
    if left_out := sum(one.left_out for one in waiting):
        told = f"{told}; {_counted(left_out)} kept without their bytes"
        to_do = f"{to_do}; retry what was left to Kafka while Kafka still has it"
    return Check("dead-letters", "warning", f"waiting: {told}", to_do)


def refund_requests(waiting: Backlog) -> Check:
    """How many customers wait for a person; that is no fault."""
    if not waiting.things or waiting.oldest_seconds is None:
        return ok("refund-requests", "none waits")
    return ok("refund-requests", f"{_counted(waiting.things)} wait, the oldest for {_age(waiting.oldest_seconds)}")


def held(found: Mapping[TopicPartition, Unread]) -> Check:
    """Partitions that cannot be read where they stand."""
    if not found:
        return ok("held", "every partition can be read where it stands")
    told = [
        f"{topic}/{number} from {at.offset}{'' if at.until is None else f' up to {at.until}'} ({at.cause})"
        for (topic, number), at in sorted(found.items())
    ]
    to_do = "have another replica lead; if that does not mend it, see `credits skip TOPIC PARTITION --to OFFSET`"
    return Check("held", "wrong", f"cannot be read: {_some(told)}", to_do)


def paused(found: Sequence[tuple[str, str]]) -> Check:
    """Whether a topic is left alone; the names are those of the contracts."""
    if not found:
        return ok("paused", "no topic is paused")
    told = _some([f"{topic} ({reason})" for topic, reason in found])
    to_do = "; ".join(f"`credits resume {topic}`" for topic, _ in found[:NAMED_MAX])
    return Check("paused", "wrong", told, f"mend the producer, then {to_do}")


def gaps(found: Sequence[Gap]) -> Check:
    """Whether messages may have been missed lately."""
    recent = [gap for gap in found if gap.age_seconds < RECENT_SECONDS]
    if not recent:
        return ok("gaps", f"none in the last {RECENT_SECONDS / 86_400:.0f} days")
    told = [
        f"{g.topic}/{g.partition} from {g.expected_offset} to {g.resumed_offset}"
        f"{' of one made anew' if g.is_made_anew else ''}, {_age(g.age_seconds)} ago"
        for g in recent
    ]
    return Check("gaps", "warning", _some(told), "see `credits reconcile` for what was missed")


def operations(found: Sequence[OpenOperation]) -> Check:
    """Whether something that a person began was killed."""
    recent = [o for o in found if OPERATION_SECONDS_WARNING <= o.age_seconds < RECENT_SECONDS]
    if not recent:
        return ok("operations", "none was begun and never ended")
    told = [f"{o.kind} {o.operation_id} of {o.operator}, begun {_age(o.age_seconds)} ago" for o in recent]
    return Check("operations", "warning", f"never ended: {_some(told)}", "run it again; it does nothing twice")


CONTRACTS: Mapping[str, TopicContract] = {contract.name: contract for contract in TOPICS}
"""By their names without a prefix."""


def _some(things: Sequence[str]) -> str:
    more = len(things) - NAMED_MAX
    return ", ".join(things[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _counted(count: int) -> str:
    return f"{count:,}" if count < bounds.COUNTED_MAX else f"{bounds.COUNTED_MAX:,} or more"


def _age(seconds: float) -> str:
    for name, unit in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} s"
