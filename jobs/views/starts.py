"""Three prompts with which a newcomer can begin."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Start:
    """A first job: how the welcome page names it, and what it asks."""

    title: str
    about: str
    icon: str
    prompt: str
    schema_name: str = ""
    schema: dict[str, Any] | None = None


STARTS = {
    "proof": Start(
        title="Check a proof",
        about="A lemma that looks true. Is it?",
        icon="book-open",
        prompt="""Lemma. For every bounded operator T on a Hilbert space, the supremum of |⟨Tx, x⟩| over \
unit vectors x is attained.

Is the lemma true? If it is not, give the smallest counterexample you can, then state the weakest extra \
assumption that repairs it and prove the repaired lemma.""",
    ),
    "contract": Start(
        title="Pull facts from a contract",
        about="Two agreements in, one table out.",
        icon="braces",
        prompt="""List every agreement below with its parties, its effective date and its liability cap.

1. This Supply Agreement takes effect on 1 March 2026 between Northvale Instruments Ltd and Orla Optics \
GmbH. Liability under it is limited to EUR 250,000 in total.

2. Orla Optics GmbH engages Tern Logistics SA from 15 June 2026 on. Neither party limits its liability.""",
        schema_name="agreements",
        schema={
            "type": "object",
            "properties": {
                "agreements": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "parties": {"type": "array", "items": {"type": "string"}},
                            "effective_on": {"type": "string", "format": "date"},
                            "liability_cap": {"type": ["string", "null"]},
                        },
                        "required": ["parties", "effective_on", "liability_cap"],
                        "additionalProperties": False,
                    },
                }
            },
            "required": ["agreements"],
            "additionalProperties": False,
        },
    ),
    "race": Start(
        title="Find a race",
        about="A few lines, two threads, one surprise.",
        icon="activity",
        prompt="""Two threads call `transfer` at the same time. Find every interleaving that loses money, \
explain the shortest one step by step, and give the smallest change that rules all of them out.

```python
balance = {"a": 100, "b": 100}


def transfer(source, target, amount):
    if balance[source] >= amount:
        left = balance[source] - amount
        balance[source] = left
        balance[target] += amount
        return True
    return False
```""",
    ),
}
