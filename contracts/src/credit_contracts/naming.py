"""Derives the name of a topic from the name of its model."""

import re

from pydantic import BaseModel


def topic_name(model: type[BaseModel]) -> str:
    """Return the topic of a model, which is also its `ce_type`: ProspectGenerated → prospect-generated."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", model.__name__).lower()
