"""A base model to train: which one, its tokenizer, its weights, and what it is known by afterwards."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from expandr_ir.errors import InputError, MissingResourceError
from expandr_ir.files import atomic_write, sha256_file, sha256_json
from expandr_ir.generators.base import require
from expandr_ir.generators.chat import model_errors

if TYPE_CHECKING:
    import torch

BASE_FILE = "base.json"
"""What says, in a trained adapter's folder, which base it belongs to."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model that is trained.

    Args:
        model: hub id or folder of the base model.
        revision: hub revision of it.
        chat_template: a Jinja file, in place of the tokenizer's own chat template or where it has none.
        dtype: of the weights that are loaded. "auto" is float32 where all weights are trained; under LoRA it is
            bfloat16 on a GPU that computes in it, else float32. The adapter's weights are float32 in either case; the
            precision of the computation is TRL's bf16 and fp16.
        attn_implementation: transformers' name of it, such as flash_attention_2; None takes transformers' own choice.
        trust_remote_code: run code that comes with the model.
    """

    model: str
    revision: str | None = None
    chat_template: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attn_implementation: str | None = None
    trust_remote_code: bool = False


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' word to TRL and PEFT that gradient checkpointing has another name now."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
        yield


def load_tokenizer(options: ModelOptions) -> Any:
    """The transformers tokenizer, with a chat template and a padding token.

    Raises:
        InputError: it has no chat template and none is named.
        MissingResourceError: there is no such model or template.
    """
    transformers = require("transformers")
    with model_errors(options.model):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            options.model, revision=options.revision, trust_remote_code=options.trust_remote_code
        )
    if options.chat_template is not None:
        path = Path(options.chat_template)
        if not path.is_file():
            raise MissingResourceError(f"--chat-template {path} is not there", expected="a Jinja file")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise InputError(
            f"the tokenizer of {options.model} has no chat template",
            expected="an instruction-tuned model, or a template for this one",
            remedy="--chat-template FILE.jinja",
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(options: ModelOptions, device: torch.device, *, adapter: bool) -> Any:
    """The model on the CPU, ready to be trained; the trainer moves it.

    Args:
        options: which one.
        device: where it will be trained, which decides "auto".
        adapter: whether only an adapter over it is trained.

    Raises:
        InputError: the model cannot be used as it is asked for.
        MissingResourceError: it is not there, or its weights are not safetensors.
    """
    from expandr_ir.generators.local import pick_dtype

    torch, transformers = require("torch"), require("transformers")
    half = adapter and device.type == "cuda"
    dtype = pick_dtype("auto" if half else "float32", device) if options.dtype == "auto" else options.dtype
    extra = {"attn_implementation": options.attn_implementation} if options.attn_implementation else {}
    with model_errors(options.model):
        return transformers.AutoModelForCausalLM.from_pretrained(
            options.model,
            revision=options.revision,
            dtype=getattr(torch, dtype) if isinstance(dtype, str) else dtype,
            use_safetensors=True,
            trust_remote_code=options.trust_remote_code,
            **extra,
        )


def base_identity(model: str, revision: str | None, commit: str | None = None) -> dict[str, str | None]:
    """What a base model is known by: {"model", "revision", "commit", "sha256"}.

    Args:
        model: hub id or folder; of a folder, the weights and the configuration are hashed.
        revision: hub revision.
        commit: the hub's commit of what was loaded.
    """
    folder = Path(model)
    if not folder.is_dir():
        return {"model": model, "revision": revision, "commit": commit, "sha256": None}
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    digest = sha256_json([[path.name, sha256_file(path)] for path in files if path.is_file()])
    return {"model": str(folder.resolve()), "revision": None, "commit": None, "sha256": digest}


def write_base(folder: Path, identity: dict[str, str | None]) -> None:
    """Writes the base's identity beside an adapter."""
    with atomic_write(folder / BASE_FILE) as stream:
        json.dump(identity, stream, indent=2)
        stream.write("\n")


def read_base(folder: Path) -> dict[str, str | None] | None:
    """The identity of the base that an adapter was trained over; None where it is not recorded.

    Raises:
        InputError: the record is not readable.
    """
    path = folder / BASE_FILE
    if not path.is_file():
        return None
    try:
        identity: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
        return {name: identity[name] for name in ("model", "revision", "commit", "sha256")}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: {error}", expected="the JSON that training wrote") from error


def check_base(adapter: Path, recorded: dict[str, str | None], found: dict[str, str | None]) -> None:
    """Refuses a base that an adapter was not trained over.

    A folder is known by its content, wherever it stands; a hub id by name and commit.

    Raises:
        InputError: it is another one.
    """
    same = (
        recorded["sha256"] == found["sha256"]
        if recorded["sha256"] or found["sha256"]
        else recorded["model"] == found["model"]
        and (not recorded["commit"] or not found["commit"] or recorded["commit"] == found["commit"])
    )
    if not same:
        raise InputError(
            f"{adapter} was trained over {_name(recorded)}, and the base here is {_name(found)}",
            expected="the same base, with the same weights",
            remedy=f"--base {recorded['model']}",
        )


def _name(identity: dict[str, str | None]) -> str:
    version = identity["sha256"] or identity["commit"] or identity["revision"]
    return f"{identity['model']} ({version[:12]})" if version else str(identity["model"])
