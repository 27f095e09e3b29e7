"""The checks of Kafka: its topics, its copies, and what it allows the service."""

from collections import Counter
from collections.abc import Mapping

from credit_contracts.topics import TOPICS, TopicContract
from credit_service.application.doctor.check import Check, ok, some
from credit_service.application.doctor.facts import (
    ClusterFacts,
    Missed,
    TopicFacts,
)

IN_SYNC_MIN = 2
"""With three copies or more, how many must have a message before it counts as written."""
CONTRACTS: Mapping[str, TopicContract] = {contract.name: contract for contract in TOPICS}
"""The contracts by their topics' names, without a prefix."""


def topics(cluster: ClusterFacts, names: Mapping[str, TopicContract], cursor: str) -> Check:
    """Whether every topic exists, with the right number of partitions; `names` are those of the deployment."""
    if missing := [name for name in (*names, cursor) if name not in cluster.topics]:
        return Check("topics", "wrong", f"missing: {some(missing)}", "run `credits topics create`")
    incoming = {name: cluster.topics[name].partitions for name, topic in names.items() if topic.direction == "in"}
    if len(set(incoming.values())) > 1:
        usual = Counter(incoming.values()).most_common(1)[0][0]
        message = some([f"{name} {count}" for name, count in incoming.items() if count != usual])
        to_do = "give all incoming topics the same number: `kafka-topics --alter --partitions`"
        return Check("topics", "wrong", f"incoming topics have {usual} partitions, but {message}", to_do)
    if (count := cluster.topics[cursor].partitions) != 1:
        message = f"{cursor} has {count} partitions and must have 1"
        return Check("topics", "wrong", message, "end the services, delete it, and run `credits topics create`")
    return ok("topics", f"all {len(names) + 1} are there, the incoming ones with {max(incoming.values())} partitions")


def topic_settings(cluster: ClusterFacts, names: Mapping[str, TopicContract]) -> Check:
    """Whether the topics keep and accept messages as the contracts say."""
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
    return Check("topic-settings", "wrong" if wrong else "warning", some([*wrong, *less]), to_do)


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
    """Whether a backlog is ordered by producers' timestamps: it may then refuse fewer events than live."""
    wanted = contract.timestamp_type
    return wanted is not None and topic.settings.get("message.timestamp.type", wanted) != wanted


def access(missed: Missed) -> Check:
    """Whether Kafka has and allows what the service needs, if it has the login of this command."""
    if missed.transactions is not None:
        to_do = "choose a Kafka, or a tier of it, that has transactions"
        return Check("access", "wrong", missed.transactions, to_do)
    if missed.rights is None:
        return ok("access", "Kafka allows all that the service needs")
    to_do = "`credits topics acls` lists what the service needs; this is no fault if the service has another login"
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
        return Check("replication", "wrong", some(wrong), "add copies, or set min.insync.replicas lower")
    if behind:
        message = f"copies are not in sync: {some(behind)}"
        return Check("replication", "warning", message, "check whether a broker is down")
    if single:
        message = f"one copy only, on {cluster.brokers} brokers: {some(single)}"
        return Check("replication", "warning", message, "add copies with `kafka-reassign-partitions`")
    if loose:
        to_do = f"set it to {IN_SYNC_MIN} with `kafka-configs --alter`"
        return Check("replication", "warning", f"min.insync.replicas is below {IN_SYNC_MIN}: {some(loose)}", to_do)
    fewest = min((topic.replicas for topic in cluster.topics.values()), default=0)
    brokers = f"{cluster.brokers} broker{'' if cluster.brokers == 1 else 's'}"
    return ok("replication", f"{fewest} cop{'y' if fewest == 1 else 'ies'} of each partition on {brokers}")
