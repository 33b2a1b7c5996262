"""Load a model folder and answer conversations, one at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from local.compute.foundation import find_parts
from local.compute.scoring.asked import BadRequest, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

END_MARKERS: Final = ("<|end|>", "<|endoftext|>", "<|im_end|>", "<|eot_id|>")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        text: Without special tokens.
        finish_reason: `stop` when the model ended its answer, `length` when it was cut off.
        prompt_tokens: Tokens of the question, chat template included.
        completion_tokens: Tokens made.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


class ChatModel:
    """A loaded model. Not safe for threads: the caller serialises.

    Args:
        folder: An MLflow model folder, or a plain `save_pretrained` folder.

    Raises:
        UserFailure: The folder holds no model.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

        parts = find_parts(folder)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(
                1
            )  # several deployments share one machine; small models gain nothing
        self._torch = torch
        self._tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(parts.tokenizer)
        self._model: Any = AutoModelForCausalLM.from_pretrained(parts.model, dtype=torch.float32)
        self._model.eval()
        config = self._model.generation_config
        self._ends = self._end_tokens(config)
        self._context = self._model.config.max_position_embeddings
        self.defaults = Sampling(
            do_sample=bool(config.do_sample),
            temperature=config.temperature if config.temperature is not None else 1.0,
            top_p=config.top_p if config.top_p is not None else 1.0,
            top_k=(config.top_k or 0) if config.do_sample else 0,
        )
        # The prompt's template, not the saved settings, decides what is sampled from here on.
        config.temperature = config.top_p = config.top_k = None
        config.do_sample = False

    def _end_tokens(self, config: Any) -> list[int]:
        ends = config.eos_token_id
        found = set(ends if isinstance(ends, list) else [ends]) | {self._tokenizer.eos_token_id}
        vocabulary = self._tokenizer.get_vocab()
        found |= {vocabulary[marker] for marker in END_MARKERS if marker in vocabulary}
        return sorted(found - {None})

    def answer(self, messages: Sequence[dict[str, Any]], sampling: Sampling) -> Answer:
        """Answer one conversation.

        Raises:
            BadRequest: The conversation fills the model's context, or its chat template refuses it.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # whatever a template raises is about the messages
            raise BadRequest(f"the chat template refuses the messages: {error}") from error
        prompt = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")
        count = int(prompt["input_ids"].shape[1])
        room = self._context - count
        if room < 1:
            raise BadRequest(
                f"the conversation has {count} tokens, but the model's context is {self._context}"
            )
        if sampling.seed is not None:
            self._torch.manual_seed(sampling.seed)
        chosen: dict[str, Any] = {"do_sample": sampling.do_sample}
        if sampling.do_sample:
            chosen |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
            chosen["top_k"] = sampling.top_k or None
        if sampling.stop:
            chosen |= {"stop_strings": list(sampling.stop), "tokenizer": self._tokenizer}
        with self._torch.inference_mode():
            output = self._model.generate(
                input_ids=prompt["input_ids"],
                attention_mask=prompt["attention_mask"],
                max_new_tokens=min(sampling.max_new_tokens, room),
                eos_token_id=self._ends,
                pad_token_id=self._tokenizer.pad_token_id,
                **chosen,
            )
        made = output[0, count:].tolist()
        said = self._tokenizer.decode(made, skip_special_tokens=True).strip()
        cut = min((at for stop in sampling.stop if (at := said.find(stop)) >= 0), default=None)
        ended = cut is not None or bool(made and made[-1] in self._ends)
        return Answer(said[:cut], "stop" if ended else "length", count, len(made))
