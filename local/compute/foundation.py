"""Find the foundation model's weights, tokenizer and fine-tune configuration in a model folder.

Three layouts occur: the registry's chat models (`MLmodel` with flavor `hftransformersv2`, parts under
`data/`), models saved by MLflow's own transformers flavor, which is also what a fine-tune here leaves
behind, and plain folders as `save_pretrained` writes them (`pytorch_model_path`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from local.compute.failures import UserFailure

if TYPE_CHECKING:
    from pathlib import Path

    from local.compute.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Foundation:
    """Where the parts of a model lie.

    Attributes:
        model: Folder with `config.json` and the weights.
        tokenizer: Folder with `tokenizer.json`.
        finetune_config: The model's `finetune_config.json`; empty if it has none.
    """

    model: Path
    tokenizer: Path
    finetune_config: dict[str, Any]

    @property
    def chat_markers(self) -> tuple[str, str]:
        """Texts that open the assistant's and the user's messages.

        Raises:
            UserFailure: The configuration does not say them, so the component cannot train this model.
        """
        special = self.finetune_config.get("chat_special_tokens")
        if not isinstance(special, dict):
            raise UserFailure("Chat Special tokens are not set in finetune config.")
        found = []
        for name in ("response_template", "instruction_template"):
            value = special.get(name)
            marker = value.get("content") if isinstance(value, dict) else value
            if not isinstance(marker, str) or not marker:
                raise UserFailure(f"Chat Special tokens misses {name} in finetune config.")
            found.append(marker)
        return found[0], found[1]


def find_foundation(inputs: Inputs) -> Foundation:
    """Find the model that the inputs name; `pytorch_model_path` comes before `mlflow_model_path`.

    Raises:
        UserFailure: The folder holds no model that can be used.
    """
    folder = inputs.pytorch_model_path or inputs.mlflow_model_path
    if folder is None:
        raise UserFailure("mlflow_model_path or pytorch_model_path must be given")
    found = find_parts(folder)
    if inputs.finetune_config_path is not None:
        return Foundation(found.model, found.tokenizer, _read_config(inputs.finetune_config_path))
    return found


def find_parts(folder: Path) -> Foundation:
    """Find the parts of a model in any of the three layouts.

    Raises:
        UserFailure: It is none of them.
    """
    for model, tokenizer in (
        ("data/model", "data/tokenizer"),
        ("model", "components/tokenizer"),
        (".", "."),
    ):
        if (folder / model / "config.json").is_file():
            if not (folder / tokenizer / "tokenizer.json").is_file():
                raise UserFailure(f"{folder}: the model has no {tokenizer}/tokenizer.json")
            places = ("data/config", "data", ".", model)
            configs = [folder / place / "finetune_config.json" for place in places]
            config = next((path for path in configs if path.is_file()), None)
            return Foundation(
                folder / model, folder / tokenizer, _read_config(config) if config else {}
            )
    raise UserFailure(
        f"{folder}: found no model; expected data/model/config.json or model/config.json"
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserFailure(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise UserFailure(f"{path} must hold a JSON object")
    return config
