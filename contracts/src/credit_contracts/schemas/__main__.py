"""Write the schemas beside this file."""

from pathlib import Path

from credit_contracts.schemas import generate, rendered

for topic, body in generate().items():
    Path(__file__).with_name(f"{topic}.json").write_text(rendered(body), "utf-8")
