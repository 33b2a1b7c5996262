"""The manifest's section `model`: which foundation model to start from."""

from __future__ import annotations

from pydantic import Field, model_validator

from shared import assets
from shared.runs.sections import Section


class Model(Section):
    """The foundation model to start from."""

    name: str = Field(default="Phi-4", min_length=1, description="Its name in the registry.")
    registry: str = Field(default="azureml", min_length=1, description="The registry it is in.")
    version: str = Field(
        default="latest",
        min_length=1,
        coerce_numbers_to_str=True,
        description="A version, or `latest`; resolved and recorded.",
    )
    id: str | None = Field(
        default=None,
        description="Its whole asset id, `azureml://registries/…/models/…/versions/…`, instead of the "
        "three above.",
    )
    allow_fallback: bool = Field(
        default=False,
        description="When it is archived, retired or not there, take one of `DROPTUNE_FALLBACK_MODELS`.",
    )
    allow_retired: bool = Field(
        default=False, description="Try it though its fine-tuning or inference is retired."
    )

    @model_validator(mode="before")
    @classmethod
    def _taken_apart(cls, value: object) -> object:
        """An asset id gives registry, name and version; said twice, they have to agree."""
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            return value
        asset = assets.parse(value["id"], "models")
        parts = {"registry": asset.registry, "name": asset.name, "version": asset.version}
        for key, part in parts.items():
            if str(value.get(key, part)) != part:
                raise ValueError(f"'{key}' and 'id' disagree; leave '{key}' out")
        return value | parts
