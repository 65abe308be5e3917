"""Options of training an expander: ours, and TRL's and PEFT's under their own names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.config import EncodeOptions, GeneratorConfig, JsonField, LocalOptions, fitted_options
from expandr_ir.errors import InputError, check_fields
from expandr_ir.generators.gguf import load_base
from expandr_ir.records import Decoding
from expandr_ir.runtime import pick_device, pick_dtype, require

Kind: TypeAlias = Literal["dpo", "grpo", "sft"]

GATE = "eval_gate"
"""The metric by which the best checkpoint is kept; see `expandr_ir.train.align.heldout.gate`."""

NOT_HERE = {
    "output_dir": "--output DIR",
    "resume_from_checkpoint": "nothing: a run that was broken off goes on from its last complete checkpoint",
    "model_init_kwargs": "--model, --revision, --dtype, --attn-implementation",
    "trust_remote_code": "--trust-remote-code",
    "push_to_hub": "expandr train merge --push-to-hub REPOSITORY",
    "max_prompt_length": "--max-prompt-length N, which this package applies itself",
    "dataset_kwargs": "nothing: rows are tokenized by this package",
    "chat_template_path": "--chat-template FILE",
}
"""Options of TRL's that have a place of their own here, or none, and what to type."""

NOT_HERE_OF: dict[Kind, dict[str, str]] = {
    "dpo": {"max_completion_length": "max_length, of prompt and answer together"},
    "sft": {"max_completion_length": "max_length, of prompt and answer together"},
    "grpo": {
        "chat_template_kwargs": "--chat-template FILE",
        "reward_weights": """--rewards '{"search": 1.0, "retriever": 0.5}'""",
        "dataloader_num_workers": "nothing: prompts need no workers, and Java, which searches, must not be forked",
    },
}
"""The same of one trainer's."""


@dataclass(frozen=True)
class HeldoutOptions:
    """Topics that are held out, and how the expander is tried on them.

    Args:
        rows: training rows that nothing else trains on (a file, or a collection with `split`); None measures no
            generated text, and the gate is then the held-out preferences' margin alone.
        split: of a collection.
        topics: how many of the rows, chosen by a hash of their queries.
        samples: expansions of each topic.
        encoder: a name of conf/encoders, a YAML file, a folder or a hub id.
        encode: how it runs.
        decoding: how the expander samples; the same seeds at every evaluation.
        batch_size: samples decoded together.
        score: what the gate looks at: the mean reward, or the mean reciprocal rank.
    """

    rows: str | None = None
    split: str | None = None
    topics: int = 64
    samples: int = 2
    encoder: str = "all-MiniLM-L6-v2"
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    decoding: Decoding = field(default_factory=lambda: Decoding(max_new_tokens=160))
    batch_size: int = 32
    score: Literal["reward", "mrr"] = "reward"

    def __post_init__(self) -> None:
        check_fields(self, "topics", "samples", "batch_size", prefix="heldout.", least=1)


@dataclass(frozen=True, kw_only=True)
class AlignOptions:
    """A run of one of TRL's trainers.

    Args:
        model: the base: a name of conf/generators or a YAML file of that kind, a hub id, a folder or a GGUF file.
        revision: hub revision of it.
        chat_template: a Jinja file, in place of the tokenizer's own chat template or where it has none.
        dtype: of the weights that are loaded. "auto" is float32 where all weights are trained; under LoRA it is
            bfloat16 on a GPU that computes in it, else float32. The adapter's weights are float32 in either case; the
            precision of the computation is TRL's bf16 and fp16.
        attn_implementation: transformers' name of it, such as flash_attention_2; None takes transformers' own choice.
        trust_remote_code: run code that comes with the model.
        max_prompt_length: most tokens of a prompt, whose last ones are kept; TRL has no such option any more.
        lora: PEFT's LoraConfig, by its own names; null trains all weights.
        heldout: topics that every checkpoint is tried on.
        output: the run's folder: checkpoints, and at the end the adapter (or the model) and its card.
        dry_run: say how many rows, tokens and steps there would be, and stop.
    """

    model: str
    revision: str | None = None
    chat_template: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    max_prompt_length: int | None = None
    lora: dict[str, JsonField] | None = field(default_factory=dict)
    heldout: HeldoutOptions = field(default_factory=HeldoutOptions)
    output: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        folder = Path(self.model)
        if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
            raise InputError(
                f"--model {folder} is an adapter",
                expected="a whole model to start from",
                remedy=f"expandr train merge --adapter {folder} --output MERGED, then --model MERGED",
            )

    @cached_property  # a GGUF file is hashed to find what was converted from it
    def generator(self) -> GeneratorConfig:
        """The base as a generator of the local engine; its model is what transformers loads."""
        local = LocalOptions(chat_template=self.chat_template, trust_remote_code=self.trust_remote_code)
        return replace(load_base(self.model, self.revision), local=local)


def trl_config(kind: Kind, given: Mapping[str, Any], output: Path, *, evaluates: bool) -> Any:
    """A DPOConfig, GRPOConfig or SFTConfig: TRL's defaults, what is given, and what follows from where it runs.

    Not given, `bf16` and `fp16` follow from the device, two checkpoints are kept, and nothing is reported to a service.
    Where there are held-out rows (`evaluates`), each checkpoint is evaluated and the one with the highest gate kept.
    """
    options = trl_options(kind, given)
    device = require("torch").device("cpu") if options.get("use_cpu") else pick_device()
    options.setdefault("use_cpu", device.type == "cpu")
    if options.get("bf16") is None and not options.get("fp16"):
        # bfloat16 where the device computes in it, else float16 on CUDA only.
        options["bf16"] = pick_dtype("auto", device) == require("torch").bfloat16
        options["fp16"] = not options["bf16"] and device.type == "cuda"
    defaults: dict[str, Any] = {
        "report_to": [],
        "ddp_find_unused_parameters": False,  # every weight that is trained is used in every step
        "logging_nan_inf_filter": False,  # it would show the loss before in place of a NaN
        "save_total_limit": 2,
        "disable_tqdm": True,
    }
    if evaluates:
        defaults |= {"eval_strategy": "steps", "eval_steps": options.get("save_steps", 500), "eval_on_start": True}
        options |= {"load_best_model_at_end": True, "metric_for_best_model": GATE, "greater_is_better": True}
    elif options.get("eval_strategy", "no") != "no":
        raise InputError(f"{kind}.eval_strategy without anything to evaluate on", remedy="--dev-share .1")
    if kind == "sft":
        options["dataset_kwargs"] = {"skip_prepare_dataset": True}
    block = _block(kind)
    try:
        return block(output_dir=str(output), **defaults | options)
    except (ValueError, TypeError) as error:
        expected = f"options that fit together, as {block.__name__} says"
        raise InputError(f"--{kind}: {error}", expected=expected) from error


def trl_options(kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given ones of TRL's options, in their types; unknown ones and those that have another place are errors."""
    elsewhere = NOT_HERE | NOT_HERE_OF[kind]
    for name in given:
        if name in elsewhere:
            raise InputError(f"{kind}.{name} is not an option here", remedy=elsewhere[name])
    return fitted_options(_block(kind), given, f"--{kind}")


def trl_option(kind: Kind, given: Mapping[str, Any], name: str) -> Any:
    """The value of one of TRL's options: what is given, else its default."""
    return trl_options(kind, given).get(name, getattr(_block(kind), name))


def lora_config(given: Mapping[str, Any] | None) -> Any:
    """PEFT's LoraConfig; None where all weights are trained."""
    if given is None:
        return None
    peft = require("peft", "train")
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM"} | fitted_options(peft.LoraConfig, given, "--lora"))


def _block(kind: Kind) -> type[Any]:
    block: type[Any] = getattr(require("trl", "train"), f"{kind.upper()}Config")
    return block
