"""How a job fails: by the user's doing or by the system's.

Azure ML puts one of two codes on a failed run, and clients decide by it whether trying again can help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class JobFailed(Exception):
    """A job that cannot go on; its text is what the person who sent it reads."""

    code: ClassVar[str] = "SystemError"


class UserFailure(JobFailed):
    """The inputs or the data are at fault."""

    code = "UserError"


class SystemFailure(JobFailed):
    """The machine or a service is at fault."""


class InputsRefused(UserFailure):
    """Inputs that the component would not take, all of them at once."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n- {problem}" for problem in self.problems)
        super().__init__(f"The inputs of the job need mending:{lines}")
