"""The order of a conversation's turns: pure rules over the roles alone.

Chat templates of the models at hand either ignore or refuse what breaks these rules, and one
refusal fails the whole training job; so they are applied to each row before it leaves. Few
patterns of roles cover nearly all rows of a dataset, so the verdict on a pattern is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from shared.data.reasons import Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.data.shapes import Message

#: Bounds on what is remembered: strange input must not fill the memory with patterns.
_MOST_PATTERNS = 1024
_LONGEST_PATTERN = 512

#: Which roles may follow which. A tool's answer follows the assistant's call, and the assistant
#: speaks next.
_MAY_FOLLOW = {
    "system": {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


class Turns(NamedTuple):
    """A pattern of roles that may be trained on.

    Attributes:
        kept: How many leading messages stay; fewer than there were if the end was trimmed.
        trimmed: Whether messages after the last assistant turn were cut off.
        tools: Whether the row gives tools.
        system: Kept messages of that role; likewise `user`, `assistant`, `tool`.
        overhead: Bytes of the written row that are not content: brackets, keys, roles.
    """

    kept: int
    trimmed: bool
    tools: bool
    system: int
    user: int
    assistant: int
    tool: int
    overhead: int


def judge_turns(roles: Sequence[str], *, tools: bool) -> Turns | Refusal:
    """Apply the rules of turn order to known roles, the last unanswered turns cut off.

    Args:
        roles: One of system, user, assistant, tool for each message.
        tools: Whether the row gives `tools`; only then may a tool speak.
    """
    if len(roles) < 2:  # noqa: PLR2004
        return Refusal(Reason.TOO_FEW_MESSAGES, f"{len(roles)} message(s)")
    if "system" in roles[1:]:
        return Refusal(Reason.SYSTEM_NOT_FIRST, f"messages[{roles.index('system', 1)}] is system")
    if not tools and "tool" in roles:
        return Refusal(
            Reason.UNKNOWN_ROLE,
            f"messages[{roles.index('tool')}] is tool, but the row has no tools",
        )
    if "assistant" not in roles:
        return Refusal(Reason.NO_ASSISTANT, "roles: " + ", ".join(roles[:8]))
    kept = len(roles)
    while roles[kept - 1] != "assistant":
        kept -= 1
    before = "system"
    for place, role in enumerate(roles[:kept]):
        if role not in _MAY_FOLLOW[before] and not (place == 0 and role == "system"):
            where = f"messages[{place}] is {role}" + (
                f" after {before}" if place else ", the first"
            )
            return Refusal(Reason.TURN_ORDER, where)
        before = role
    return _turns(list(roles[:kept]), trimmed=kept < len(roles), tools=tools)


def _turns(roles: list[str], *, trimmed: bool, tools: bool) -> Turns:
    empty = ",".join(f'{{"role":"{role}","content":""}}' for role in roles)
    return Turns(
        kept=len(roles),
        trimmed=trimmed,
        tools=tools,
        system=roles.count("system"),
        user=roles.count("user"),
        assistant=roles.count("assistant"),
        tool=roles.count("tool"),
        overhead=len(f'{{"messages":[{empty}]}}'),
    )


@dataclass(slots=True)
class TurnPatterns:
    """Remembers the verdict on each pattern of roles, up to a bound."""

    _known: dict[str, Turns | Refusal] = field(default_factory=dict)

    def judge(self, pattern: str, messages: Sequence[Message], *, tools: bool) -> Turns | Refusal:
        """As `judge_turns`, faster for a pattern seen before.

        Args:
            pattern: The roles, run together. No role's name begins with another's, so that they tell the roles still.
            messages: Whose roles they are.
            tools: Whether the row gives `tools`.
        """
        key = pattern + "+" if tools else pattern
        known = self._known.get(key)
        if known is None:
            known = judge_turns([message.role for message in messages], tools=tools)
            if len(key) <= _LONGEST_PATTERN and len(self._known) < _MOST_PATTERNS:
                self._known[key] = known
        return known
