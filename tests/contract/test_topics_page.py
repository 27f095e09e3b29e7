"""TOPICS.md is where people look up a contract: it is the code's, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from credit_contracts import TOPICS, TopicContract
from credit_contracts.examples import examples
from credit_contracts.topics_page import page

PAGE = Path(__file__).parents[2] / "contracts" / "TOPICS.md"
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.read_text("utf-8").split("\n## ")[1:]}
TERMS = ["producers", "consumers", "key", "partitions", "retention", "record"]
PROMISES = ["order", "delivery", "compatibility"]


def test_committed_page_is_made_from_the_code() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m credit_contracts.topics_page > contracts/TOPICS.md"


def test_every_topic_has_a_section_in_the_order_of_the_code() -> None:
    assert list(SECTIONS) == [topic.name for topic in TOPICS]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_section_says_all_that_a_contract_is(topic: TopicContract) -> None:
    told = dict(re.findall(r"^\| ([a-z]+) \| (.+) \|$", SECTIONS[topic.name].partition("| field |")[0], re.MULTILINE))
    stamped, of_model = (["timestamp"] if topic.timestamp_type else []), (["schema"] if topic.model else [])
    assert list(told) == [*TERMS, *stamped, *PROMISES, *of_model, "examples"]
    assert stamped == (["timestamp"] if topic.direction == "in" else [])
    assert told.get("timestamp", "").endswith("=LogAppendTime`" if stamped else "")
    assert told["partitions"] == str(topic.partitions)
    assert told["retention"].startswith(f"{topic.retention_ms // (24 * 60 * 60 * 1000)} days, ")
    assert (told["order"], told["delivery"], told["compatibility"]) == (
        topic.ordering,
        topic.delivery,
        topic.compatibility,
    )
    assert told["examples"].count("](") == len(examples(topic.name))


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.model], ids=lambda topic: topic.name)
def test_section_names_every_field_of_the_model(topic: TopicContract) -> None:
    assert topic.model is not None
    named = re.findall(r"^\| `([a-z_.]+)` \|", SECTIONS[topic.name], re.MULTILINE)
    assert {name.partition(".")[0] for name in named} == topic.model.model_fields.keys()


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text("utf-8"))
    assert targets
    assert [target for target in targets if not (PAGE.parent / target).is_file()] == []
