"""Make `local/compute/base_model/`, the small foundation model of the local registry.

The model has Phi-3's architecture, chat format and special tokens at a thousandth of its size, so that a
fine-tune on a CPU takes seconds and goes through the same code as a large one. It learns synthetic chat
(`pretraining/`) from a fixed seed. The folder is tracked, so nobody needs to run this; it documents
where the weights come from:

    .venv-train/bin/python -m local.compute.make_base_model
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from local.compute.pretraining.chat import conversations
from local.compute.pretraining.tokenizer import CONTEXT, END, END_OF_TEXT, learn_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    Message = dict[str, str]

SEED: Final = 20
BATCH: Final = 64
BUFFER: Final = 40  # batches drawn at once, so that each holds conversations of one length
PEAK_RATE: Final = 3e-3
FINETUNE_CONFIG: Final = {
    # The preprocess step finds the assistant's tokens by these two.
    "chat_special_tokens": {
        "response_template": "<|assistant|>\n",
        "instruction_template": "<|user|>\n",
    },
    "system_role_supported": "true",
    "lora_target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
}


def new_model(tokenizer: Any) -> Any:
    """An untrained `Phi3ForCausalLM` of about 0.9 million parameters."""
    from transformers import Phi3Config, Phi3ForCausalLM

    end_of_text, end = tokenizer.convert_tokens_to_ids([END_OF_TEXT, END])
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        original_max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )
    model = Phi3ForCausalLM(config)
    model.generation_config.eos_token_id = [end_of_text, end]
    model.generation_config.pad_token_id = end_of_text
    return model


def batches(
    tokenizer: Any, rows: Iterator[list[Message]], shuffler: random.Random
) -> Iterator[Any]:
    """Encode conversations into padded batches of similar lengths, without end.

    Yields:
        `(ids, weights)`: int64 and float32 tensors of shape (BATCH, length); a token of the assistant
        weighs 1, any other 0.1, padding 0.
    """
    import torch

    assistant, end = tokenizer.convert_tokens_to_ids(["<|assistant|>", END])
    while drawn := list(islice(rows, BATCH * BUFFER)):
        texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in drawn]
        encoded = sorted(tokenizer(texts)["input_ids"], key=len)
        groups = [encoded[at : at + BATCH] for at in range(0, len(encoded), BATCH)]
        shuffler.shuffle(groups)
        for group in groups:
            length = max(map(len, group))
            ids = torch.full((len(group), length), tokenizer.pad_token_id)
            weights = torch.zeros((len(group), length))
            for row, tokens in enumerate(group):
                ids[row, : len(tokens)] = torch.tensor(tokens)
                speaking = False
                for at, token in enumerate(tokens):
                    weights[row, at] = 1.0 if speaking else 0.1
                    speaking = (speaking or token == assistant) and token != end
            yield ids, weights


def train(tokenizer: Any, *, steps: int, seed: int) -> Any:
    """Train a new model for `steps` steps, with warm-up and cosine decay.

    Returns:
        The trained model, in float32.
    """
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(seed)
    model = new_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=steps, pct_start=0.05
    )
    source = random.Random(seed)  # noqa: S311 - reproducible, not secret
    rows = conversations(source, steps * BATCH)
    model.train()
    begun, running = time.monotonic(), 0.0
    shuffler = random.Random(seed)  # noqa: S311
    drawn = islice(batches(tokenizer, rows, shuffler), steps)
    for step, (ids, weights) in enumerate(drawn, 1):
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        losses = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        weight = weights[:, 1:].flatten()
        loss = (losses * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running = loss.item() if step == 1 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0 or step == steps:
            print(
                f"step {step}/{steps}  loss {running:.3f}  {time.monotonic() - begun:.0f} s",
                flush=True,
            )
    return model


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the folder as the registry's chat models are laid out: MLmodel, data/model, data/tokenizer."""
    import torch
    import transformers
    import yaml

    (folder / "data/config").mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder / "data/model")
    tokenizer.save_pretrained(folder / "data/tokenizer")
    (folder / "data/config/finetune_config.json").write_text(
        json.dumps(FINETUNE_CONFIG, indent=2) + "\n"
    )
    flavor = {
        "hf_config_class": "AutoConfig",
        "hf_pretrained_class": "AutoModelForCausalLM",
        "hf_tokenizer_class": "AutoTokenizer",
        "model_data": "data",
        "task_type": "chat-completion",
        "pytorch_version": torch.__version__.split("+")[0],
        "transformers_version": transformers.__version__,
    }
    about = {"flavors": {"hftransformersv2": flavor}, "model_uuid": "0" * 32}
    (folder / "MLmodel").write_text(yaml.safe_dump(about, sort_keys=True))


def main() -> int:
    """Learn the tokenizer, train, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "base_model")
    parser.add_argument(
        "--steps", type=int, default=3000, help="training steps of 64 conversations"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="part of the recipe: sums depend on it"
    )
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    sample = conversations(random.Random(SEED + 1), 20_000)  # noqa: S311
    tokenizer = learn_tokenizer(message["content"] for row in sample for message in row)
    model = train(tokenizer, steps=arguments.steps, seed=SEED)
    save(model, tokenizer, arguments.folder)
    size = sum(path.stat().st_size for path in arguments.folder.rglob("*") if path.is_file())
    print(f"wrote {arguments.folder} ({size / 1e6:.2f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
