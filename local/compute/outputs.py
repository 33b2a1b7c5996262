"""Write what a job leaves behind: an MLflow model and a plain PyTorch model folder."""

from __future__ import annotations

import json
import logging
import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REQUIREMENTS: Final = ("torch", "transformers", "accelerate", "mlflow")


def write_pytorch_folder(
    model: Any, tokenizer: Any, finetune_config: Mapping[str, Any], folder: Path
) -> None:
    """Write the model beside its checkpoints, as `save_pretrained` lays it out.

    Args:
        model: A transformers model, or one with LoRA adapters, of which only the adapters are written.
        tokenizer: Its tokenizer.
        finetune_config: Goes along, so that the folder can be fine-tuned again.
        folder: Is made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_config(finetune_config, folder)


def write_mlflow_folder(
    model: Any,
    tokenizer: Any,
    finetune_config: Mapping[str, Any],
    folder: Path,
    about: Mapping[str, Any],
) -> None:
    """Write an MLflow model of flavor `transformers`, task `llm/v1/chat`, in one move.

    `mlflow.pyfunc.load_model` and `mlflow.transformers.load_model` load it.

    Args:
        model: A whole transformers model, adapters merged.
        tokenizer: Its tokenizer, with chat template.
        finetune_config: Goes along, so that the model can be fine-tuned again.
        folder: Is replaced.
        about: Metadata for the `MLmodel` file.
    """
    import mlflow.transformers

    logging.getLogger("mlflow.transformers").setLevel(logging.ERROR)  # no hub, no model card
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    model.config.use_cache = True
    mlflow.transformers.save_model(
        {"model": model, "tokenizer": tokenizer},
        str(new),
        task="llm/v1/chat",
        # Listed here, since finding them out by itself would load the model in a process of its own.
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS],
        metadata=dict(about),
    )
    _write_config(finetune_config, new)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new.replace(folder)


def merged(model: Any) -> Any:
    """The model with its LoRA adapters folded into the weights; a model without any as it is."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def _write_config(finetune_config: Mapping[str, Any], folder: Path) -> None:
    text = json.dumps(finetune_config, indent=2) + "\n"
    (folder / "finetune_config.json").write_text(text, encoding="utf-8")
