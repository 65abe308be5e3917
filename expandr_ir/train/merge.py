"""An adapter merged into its base: whole safetensors weights, tokenizer, generation configuration and model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from expandr_ir.config import GeneratorConfig
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.files import atomic_write
from expandr_ir.generators.base import require
from expandr_ir.generators.chat import adapter_folder, model_errors
from expandr_ir.manifest import write_manifest
from expandr_ir.train.card import CARD, model_card
from expandr_ir.train.run_folder import now, read_curves, weights_manifest
from expandr_ir.train.trainable import base_identity, check_base, quiet, read_base


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """Options of merging.

    Args:
        adapter: the folder of a training run, or any PEFT adapter (folder or hub id).
        adapter_revision: hub revision of it.
        base: the base model; None takes the one the adapter was trained over.
        revision: hub revision of the base; None takes the recorded one.
        dtype: of the merged weights; "auto" is the base's own. The sum is computed in float32.
        push_to_hub: a repository of the hub (NAME or OWNER/NAME) to upload the merged model to.
        private: make that repository private.
        trust_remote_code: run code that comes with the base.
    """

    adapter: str
    adapter_revision: str | None = None
    base: str | None = None
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    push_to_hub: str | None = None
    private: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Merged:
    """A merged model.

    Args:
        folder: where it is.
        base: what it is known by.
        url: of the repository it was uploaded to, if any.
    """

    folder: Path
    base: dict[str, str | None]
    url: str | None


def merge(options: MergeOptions, output: Path, command: Sequence[str]) -> Merged:
    """Merges and writes; the weights come last but for the manifest.

    Args:
        options: what, into what.
        output: the folder to write.
        command: for the manifest.

    Raises:
        InputError: no adapter, an adapter for another base, or a folder that holds something else.
        MissingResourceError: adapter or base are not there.
        NotInstalledError: PEFT is missing.
        ExpandrError: the upload failed; the merged model is there.
    """
    started = now()
    adapter = _adapter(options)
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    recorded = read_base(adapter)
    name = options.base or (recorded or {}).get("model") or settings.get("base_model_name_or_path")
    if not name:
        raise InputError(f"{adapter} does not say what its base is", remedy="--base MODEL")
    revision = options.revision or (recorded or {}).get("revision") or settings.get("revision")
    revision = None if Path(name).is_dir() else revision
    if output.exists() and any(output.iterdir()) and not (output / "config.json").is_file():
        raise InputError(f"{output} holds something else", expected="a new or empty folder", remedy="another --output")
    model = _merged(options, adapter, name, revision, recorded)
    tokenizer = _tokenizer(adapter, name, revision, options.trust_remote_code)
    output.mkdir(parents=True, exist_ok=True)
    identity = base_identity(name, revision, getattr(model.config, "_commit_hash", None))
    with model_errors(str(output)):
        tokenizer.save_pretrained(output)
        model.save_pretrained(output, safe_serialization=True)
    manifest = weights_manifest(adapter) or {}
    with atomic_write(output / CARD) as stream:
        stream.write(model_card(output.name, manifest, read_curves(adapter), merged=True))
    weights = next(
        output / one for one in ("model.safetensors", "model.safetensors.index.json") if (output / one).is_file()
    )
    write_manifest(
        weights,
        command=command,
        started=started,
        config=options.__dict__,
        inputs={"adapter": adapter / "adapter_model.safetensors"},
        seeds=manifest.get("seeds", {}),
        details={"base": identity, "training": {one: manifest.get(one) for one in ("config", "counts", "details")}},
    )
    url = _push(output, options) if options.push_to_hub else None
    return Merged(output, identity, url)


def _adapter(options: MergeOptions) -> Path:
    folder = Path(options.adapter)
    if folder.is_dir() and not (folder / "adapter_config.json").is_file():
        whole = (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file()
        raise InputError(
            f"{folder} " + ("holds a whole model: there is nothing to merge" if whole else "holds no adapter"),
            expected="the folder of a run with --lora, or a PEFT adapter",
            remedy=f"--generator local:{folder}" if whole else None,
        )
    config = GeneratorConfig("local", "", adapter=options.adapter, adapter_revision=options.adapter_revision)
    found = adapter_folder(config)
    assert found is not None
    return found


def _merged(
    options: MergeOptions, adapter: Path, name: str, revision: str | None, recorded: dict[str, str | None] | None
) -> Any:
    """The merged model, in its own type."""
    transformers, peft, torch = require("transformers"), require("peft", "train"), require("torch")
    if recorded is not None:
        if not Path(name).is_dir() and recorded["sha256"]:
            raise MissingResourceError(
                f"the base of {adapter}, {name}, is not there any more",
                expected="the folder it was trained over",
                remedy="--base FOLDER, if it was moved",
            )
        check_base(adapter, recorded, base_identity(name, revision))
    with model_errors(name):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name,
            revision=revision,
            dtype="auto" if options.dtype == "auto" else getattr(torch, options.dtype),
            use_safetensors=True,
            trust_remote_code=options.trust_remote_code,
        )
    own = model.dtype
    if recorded is not None:
        commit = getattr(model.config, "_commit_hash", None)
        check_base(adapter, recorded, base_identity(name, revision, commit))
    try:
        with quiet():
            adapted = peft.PeftModel.from_pretrained(model.float(), str(adapter))
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"{adapter} does not fit {name}: {str(error).strip().splitlines()[0]}",
            expected="the base that it was trained over",
            remedy="--base MODEL",
        ) from error
    return adapted.merge_and_unload(safe_merge=True).to(own)


def _tokenizer(adapter: Path, base: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The adapter's tokenizer, which has the chat template of its training; the base's where it has none."""
    transformers = require("transformers")
    own = (adapter / "tokenizer_config.json").is_file()
    source, version = (str(adapter), None) if own else (base, revision)
    with model_errors(source):
        return transformers.AutoTokenizer.from_pretrained(source, revision=version, trust_remote_code=trust_remote_code)


def _push(folder: Path, options: MergeOptions) -> str:
    """The address of the repository that the folder was uploaded to."""
    hub = require("huggingface_hub")
    assert options.push_to_hub is not None
    try:
        address = hub.create_repo(options.push_to_hub, private=options.private, exist_ok=True)
        hub.upload_folder(repo_id=address.repo_id, folder_path=str(folder), commit_message="Merged by expandr_ir")
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.LocalTokenNotFoundError) as error:
        raise ExpandrError(
            f"{folder} is merged, and was not uploaded to {options.push_to_hub}: {error}",
            remedy=f"hf auth login; then: hf upload {options.push_to_hub} {folder}",
        ) from error
    return str(address)
