"""The manifest: what a person asks for.

Read once, with every problem at once; past `read` there are only frozen, checked values. The JSON Schema that
docs/ publishes is generated from these classes, so their descriptions are written for the manifest's author.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shared.data.kept import kept_problem
from shared.data.shapes import named_shape
from shared.errors import ManifestRejected, Problem
from shared.runs.compute_section import Compute
from shared.runs.deploy_section import Deploy
from shared.runs.gate_section import Gate
from shared.runs.model_section import Model
from shared.runs.sections import Duration, Section

if TYPE_CHECKING:
    from collections.abc import Collection

SIZE_LIMIT = 256 * 1024
"""Longest manifest in bytes; the Event Grid subscription filters on the same number."""


def _whole(value: object) -> object:
    """Large numbers may be written as `2e9`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Splits(Section):
    """Names of a hub dataset's splits."""

    train: str = Field(default="train", min_length=1, description="The split to train on.")
    validation: str | None = Field(
        default=None, description="The split to evaluate on; carved from train when absent."
    )
    test: str | None = Field(
        default=None, description="The split for the smoke test; carved from train when absent."
    )


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda v: (v,) if isinstance(v, str) else tuple(v) if isinstance(v, list) else v
    ),
]
"""One name or several."""


class Files(Section):
    """Paths or patterns in the container `data`, or https addresses; one or several for each split."""

    train: Names = Field(min_length=1, description="Files to train on.")
    validation: Names = Field(default=(), description="Files to evaluate on.")
    test: Names = Field(default=(), description="Files for the smoke test.")


class Dataset(Section):
    """Where the rows come from: either `hub` or `files`."""

    hub: str | None = Field(
        default=None,
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="A dataset on the Hugging Face hub, as in `HuggingFaceH4/ultrachat_200k`.",
    )
    config: str | None = Field(default=None, description="The hub dataset's configuration.")
    revision: str = Field(
        default="main", description="Branch, tag or commit; resolved to a commit and recorded."
    )
    splits: Splits = Field(default=Splits(), description="The hub dataset's splits.")
    files: Files | None = Field(
        default=None, description="Files in the container `data`, or on https servers."
    )
    shape: (
        Literal["messages", "sharegpt", "alpaca", "prompt-completion", "question-answer"] | None
    ) = Field(
        default=None, description="The shape of all rows; by default each row's columns tell it."
    )
    columns: dict[str, str] = Field(
        default={},
        description="What the dataset calls a shape's columns, as in "
        '`{"prompt": "q", "completion": "a"}`.',
    )
    system: str | None = Field(
        default=None,
        pattern=r"\S",
        description="A system message for each conversation that has none.",
    )
    keep_columns: Names = Field(
        default=(), description="Further columns to keep beside the conversation, as text."
    )
    percent: float = Field(
        default=100, gt=0, le=100, strict=False, description="Share of the rows to use."
    )
    sampling: Literal["hash", "first"] = Field(
        default="hash",
        description="How that share is drawn: `hash` by what is in a row, `first` the first rows of "
        "each file or hub split.",
    )
    seed: int = Field(
        default=42,
        ge=0,
        lt=1 << 64,
        description="Another seed draws other rows and deals them out differently.",
    )
    validation_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        strict=False,
        description="Share of train's rows that becomes validation where none is given.",
    )
    test_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        strict=False,
        description="Share of train's rows that becomes test where none is given.",
    )
    max_dropped_fraction: float = Field(
        default=0.05,
        ge=0,
        le=1,
        strict=False,
        description="More refused rows reject the manifest.",
    )

    @field_validator("files", mode="before")
    @classmethod
    def _bare_paths_train(cls, value: object) -> object:
        return {"train": value} if isinstance(value, str | list) else value

    @field_validator("columns")
    @classmethod
    def _columns_of_one_shape(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if "shape" in info.data:  # and right
            named_shape(info.data["shape"], value)
        return value

    @field_validator("keep_columns")
    @classmethod
    def _columns_that_may_be_kept(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if problem := kept_problem(value):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Dataset:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                "'validation_fraction' and 'test_fraction' must leave something for train"
            )
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        if (self.hub is None) == (self.files is None):
            raise ValueError("needs exactly one of 'hub' and 'files'")
        return self


class Bounds(Section):
    """What a run may use up; a run that would need more is rejected before any GPU is asked for."""

    max_tokens: Annotated[int, Field(ge=1), BeforeValidator(_whole)] | None = Field(
        default=None,
        description="Most tokens to train on, all epochs together, by estimate.",
    )


class Idle(Section):
    """When nobody uses the endpoint."""

    after: Duration = Field(
        default=timedelta(hours=2),
        gt=timedelta(0),
        description="Unused for this long, it is deleted and costs nothing.",
    )
    wake_on_request: bool = Field(
        default=True, description="The next request brings it back; otherwise the run is retired."
    )
    action: Literal["delete-endpoint", "delete-deployments"] = Field(
        default="delete-endpoint",
        description="`delete-deployments` keeps the endpoint's address and keys; neither bills.",
    )


class Manifest(Section):
    """A dataset, and what shall become of it. Only `name` and `dataset` are required."""

    name: str = Field(
        min_length=1, max_length=64, description="Names the registered model and the endpoint."
    )
    dataset: Dataset
    model: Model = Model()
    compute: Compute = Compute()
    finetune: dict[str, Any] = Field(
        default={}, description="Inputs of the component `chat_completion_pipeline`."
    )
    limits: Bounds = Bounds()
    gate: Gate = Gate.model_validate({})
    deploy: Deploy = Deploy()
    idle: Idle = Idle()

    @property
    def endpoint(self) -> str:
        """The endpoint's name in people's words (Azure's is derived from it)."""
        return self.deploy.endpoint or self.name


class _Loader(yaml.SafeLoader):
    """YAML as JSON's superset: `5e-6` is a number, a key may stand once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} must be text", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _reject(path: str, reason: str, mend: str = "") -> ManifestRejected:
    return ManifestRejected([Problem(path, reason, mend)])


def _check_writable(path: str, fields: Any) -> None:
    """Refuse what could be read but never be written down in a record."""
    try:
        msgspec.json.encode(fields)
    except UnicodeEncodeError as error:
        raise _reject(path, "holds half of a surrogate pair, which is no character") from error
    except (TypeError, RecursionError) as error:
        raise _reject(path, f"holds what JSON cannot say: {error}") from error


def parse(path: str, content: bytes) -> dict[str, Any]:
    """The manifest's text as a mapping; JSON or YAML by the path's ending.

    Raises:
        ManifestRejected: It is too long, not UTF-8, not JSON or YAML, or no mapping.
    """
    if len(content) > SIZE_LIMIT:
        raise _reject(path, f"is {len(content):,} bytes long", f"Keep it under {SIZE_LIMIT:,}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _reject(path, f"is not UTF-8 at byte {error.start}", "Save it as UTF-8") from error
    try:
        if path.endswith(".json"):
            fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        else:
            fields = yaml.load(text, Loader=_Loader)  # noqa: S506 - derives from SafeLoader
    except json.JSONDecodeError as error:
        raise _reject(
            f"{path} line {error.lineno} column {error.colno}", f"is not JSON: {error.msg}"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path} line {mark.line + 1} column {mark.column + 1}" if mark else path
        raise _reject(place, f"is not YAML: {error.problem}") from error
    except RecursionError as error:
        raise _reject(path, "is nested too deeply") from error
    except (ValueError, yaml.YAMLError) as error:
        raise _reject(path, str(error)) from error
    _check_writable(path, fields)
    if not isinstance(fields, dict):
        raise _reject(path, "is not a mapping", 'Write {"name": …, "dataset": …}')
    return fields


def problems_of(error: ValidationError) -> list[Problem]:
    """Pydantic's findings in the manifest author's terms."""
    problems = []
    for found in error.errors(include_url=False):
        place = ".".join(str(part) for part in found["loc"])
        reason = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            problems.append(Problem(place, "is not a key that Droptune knows", _nearest(place)))
        elif found["type"] == "missing":
            problems.append(Problem(place, "is required"))
        else:
            problems.append(Problem(place, reason[:1].lower() + reason[1:]))
    return problems


def _nearest(place: str) -> str:
    """The key that was probably meant, as a sentence, or nothing."""
    import difflib

    section: type[BaseModel] = Manifest
    *parents, key = place.split(".")
    for parent in parents:
        annotation = (
            section.model_fields[parent].annotation if parent in section.model_fields else None
        )
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(
            (c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section
        )
    close = difflib.get_close_matches(key, section.model_fields, n=1)
    return f"Did you mean '{close[0]}'?" if close else ""


def check(fields: dict[str, Any]) -> tuple[Manifest | None, list[Problem]]:
    """The manifest if its form is right, and every problem of its form if not."""
    try:
        return Manifest.model_validate(fields), []
    except ValidationError as error:
        return None, problems_of(error)


def well_formed(fields: dict[str, Any], malformed: Collection[str]) -> Manifest:
    """The sections whose form is right, the others at their defaults; what is required may be absent.

    Args:
        fields: The manifest.
        malformed: Top-level keys in which `check` found problems.
    """
    sections = {}
    for name, field in Manifest.model_fields.items():
        if name in fields and name not in malformed:
            section, value = field.annotation, fields[name]
            if isinstance(section, type) and issubclass(section, BaseModel):
                value = section.model_validate(value)
            sections[name] = value
    return Manifest.model_construct(**sections)


def read(path: str, content: bytes) -> Manifest:
    """The manifest in `content`.

    Raises:
        ManifestRejected: With every problem of its form at once.
    """
    manifest, problems = check(parse(path, content))
    if manifest is None:
        raise ManifestRejected(problems)
    return manifest
