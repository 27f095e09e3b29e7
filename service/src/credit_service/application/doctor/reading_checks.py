"""The checks of reading: the members of the group, and how far they are."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from credit_service.application.doctor.check import NAMED_MAX, RECENT_SECONDS, Check, age, ok, some
from credit_service.application.doctor.facts import (
    Bounds,
    Gap,
    MemberFacts,
    Unread,
)
from credit_service.application.ports import TopicPartition

LAG_MESSAGES_WARNING = 10_000


def members(found: Sequence[MemberFacts], group: str) -> Check:
    """Whether a service runs, no other client holds partitions, and no two processes have one name."""
    count = sum(member.is_ours for member in found)
    if strangers := [member for member in found if not member.is_ours and member.partitions]:
        message = some([f"client id {one.client_id} on {one.host} has {one.partitions}" for one in strangers])
        to_do = "end them, or give them a group of their own: the messages of those partitions are not decided"
        return Check("members", "wrong", f"strangers in group {group} hold partitions: {message}", to_do)
    if not count:
        return Check("members", "wrong", f"group {group} has no members: no service runs", "start `credits serve`")
    # Those without a name share the group's.
    of_one_name = Counter(member.client_id for member in found if member.is_ours and member.client_id != group)
    if twins := [f"{name} {times}" for name, times in sorted(of_one_name.items()) if times > 1]:
        message = f"several members in group {group} have one client id: {some(twins)}"
        to_do = "give each process a CREDITS_INSTANCE_ID of its own: each that starts ends the session of the other"
        return Check("members", "warning", message, to_do)
    return ok("members", f"{count} in group {group}")


def lag(
    stored: Mapping[TopicPartition, int], bounds: Mapping[TopicPartition, Bounds], left_out: Collection[str]
) -> Check:
    """The number of messages to be decided, with markers of transactions. Paused topics are left out."""
    waiting: Counter[str] = Counter()
    for partition, bound in bounds.items():
        if partition[0] not in left_out:
            waiting[partition[0]] += max(0, bound.end - max(stored.get(partition, 0), bound.first))
    message = some([f"{topic} {count:,}" for topic, count in waiting.most_common() if count]) or "nothing"
    if waiting.total() < LAG_MESSAGES_WARNING:
        return ok("lag", f"waiting to be decided: {message}")
    to_do = "if it does not shrink: look at the service's log, or start more of them"
    return Check("lag", "warning", f"waiting to be decided: {message}", to_do)


def transactions(pinned: Mapping[TopicPartition, Bounds], seconds: float) -> Check:
    """Whether an open transaction holds back later messages; `pinned` partitions have not moved for `seconds`."""
    if not pinned:
        return ok("transactions", "none stays open")
    message = [
        f"{topic}/{number} from offset {bounds.end} on, {bounds.written - bounds.end:,} messages"
        for (topic, number), bounds in sorted(pinned.items())
    ]
    to_do = (
        "have its producer end it; whose it is: `kafka-transactions.sh describe-producers --topic TOPIC --partition"
        " NUMBER`; if it hangs: `kafka-transactions.sh abort --topic TOPIC --partition NUMBER --start-offset OFFSET`"
    )
    return Check("transactions", "wrong", f"open for {seconds:.0f} s or longer: {some(message)}", to_do)


def offsets(
    stored: Mapping[TopicPartition, int],
    bounds: Mapping[TopicPartition, Bounds],
    committed: Mapping[TopicPartition, int],
    of_topics_gone: Collection[TopicPartition] = (),
) -> Check:
    """Whether each partition's next offset is within the log, and of the same topic."""
    if of_topics_gone:
        gone = [f"{topic}/{number} at {stored.get((topic, number))}" for topic, number in sorted(of_topics_gone)]
        to_do = "nothing, if a service runs: it reads them from their beginnings and records gaps; else start one"
        return Check("offsets", "wrong", f"topics were made anew since they were read: {some(gone)}", to_do)
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
        return Check("offsets", "wrong", f"retention was faster than the service: {some(eaten)}", to_do)
    if beyond:
        to_do = "if the topic was made anew, a service reads it from its beginning and records a gap"
        return Check("offsets", "wrong", f"stored offsets are not there: {some(beyond)}", to_do)
    if ahead:
        to_do = "nothing: the stored ones count, and the service commits them to Kafka again"
        return Check("offsets", "warning", f"Kafka's offsets are ahead of the stored ones: {some(ahead)}", to_do)
    return ok("offsets", f"{len(stored)} stored, all within their logs")


def held(found: Mapping[TopicPartition, Unread]) -> Check:
    """Whether partitions cannot be read at their next offsets."""
    if not found:
        return ok("held", "every partition can be read at its next offset")
    message = [
        f"{topic}/{number} from {at.offset}{'' if at.until is None else f' up to {at.until}'} ({at.cause})"
        for (topic, number), at in sorted(found.items())
    ]
    to_do = "have another replica lead; if that does not help, see `credits skip TOPIC PARTITION --to OFFSET`"
    return Check("held", "wrong", f"cannot be read: {some(message)}", to_do)


def paused(found: Sequence[tuple[str, str]]) -> Check:
    """Whether a topic is paused; the names are those of the contracts."""
    if not found:
        return ok("paused", "no topic is paused")
    message = some([f"{topic} ({reason})" for topic, reason in found])
    to_do = "; ".join(f"`credits resume {topic}`" for topic, _ in found[:NAMED_MAX])
    return Check("paused", "wrong", message, f"correct the producer, then {to_do}")


def gaps(found: Sequence[Gap]) -> Check:
    """Whether messages may have been missed recently."""
    recent = [gap for gap in found if gap.age_seconds < RECENT_SECONDS]
    if not recent:
        return ok("gaps", f"none in the last {RECENT_SECONDS / 86_400:.0f} days")
    message = [
        f"{g.topic}/{g.partition} from {g.expected_offset} to {g.resumed_offset}"
        f"{' of one made anew' if g.is_made_anew else ''}, {age(g.age_seconds)} ago"
        for g in recent
    ]
    return Check("gaps", "warning", some(message), "see `credits reconcile` for what was missed")
