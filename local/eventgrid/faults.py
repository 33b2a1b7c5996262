"""What Event Grid seldom does to events, on request: lose, repeat, delay and reorder them."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from typing import Any

REORDER_WITHIN = 0.5
"""Seconds over which events are spread when they are to be reordered and no delay is asked for."""


class BadFaults(ValueError):
    """What was asked for is no fault; the message lists every problem."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What is to go wrong from now on.

    Attributes:
        lose: Chance that a delivery never happens, 0 to 1.
        repeat: How many further times each event is delivered.
        delay: Seconds by which each delivery is late.
        reorder: Spread deliveries at random within `delay` (or half a second), so that later
            events may come first.
        seed: Where the dice start: the same seed and events, the same faults.
    """

    lose: float = 0.0
    repeat: int = 0
    delay: float = 0.0
    reorder: bool = False
    seed: int = 0

    @classmethod
    def parse(cls, body: Any) -> Faults:
        """Read the body of a request.

        Raises:
            BadFaults: It is not an object, or names an unknown or impossible fault.
        """
        if not isinstance(body, dict):
            raise BadFaults("The body must be a JSON object.")
        known = {field.name for field in fields(cls)}
        problems = [
            f"{name}: unknown; there are {', '.join(sorted(known))}"
            for name in body.keys() - known
        ]
        for name, kinds, least, most in (
            ("lose", (int, float), 0, 1),
            ("repeat", (int,), 0, 100),
            ("delay", (int, float), 0, 86_400),
            ("reorder", (bool,), False, True),
            ("seed", (int,), -(2**63), 2**63),
        ):
            value = body.get(name, getattr(cls(), name))
            fits = isinstance(value, kinds) and isinstance(value, bool) == (kinds == (bool,))
            if not fits or not least <= value <= most:
                problems.append(f"{name}: must be {kinds[-1].__name__}, {least} to {most}")
        if problems:
            raise BadFaults("; ".join(problems))
        return cls(**body)

    def as_json(self) -> dict[str, Any]:
        """What `parse` reads."""
        return asdict(self)


class Dice:
    """Decides, event by event, what the faults do; the same seed decides the same."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311 - dice, not secrets

    def deliveries(self) -> list[float]:
        """How late each delivery of the next event is, in seconds; empty when it gets lost."""
        faults = self.faults
        if faults.lose and self._random.random() < faults.lose:
            return []
        return [self._lateness() for _ in range(1 + faults.repeat)]

    def _lateness(self) -> float:
        if not self.faults.reorder:
            return self.faults.delay
        return self._random.uniform(0, self.faults.delay or REORDER_WITHIN)
