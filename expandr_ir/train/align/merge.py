"""An adapter merged into its base: whole safetensors weights, tokenizer, generation configuration and model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.config import GeneratorConfig, names
from expandr_ir.errors import ExpandrError, InputError, MissingResourceError
from expandr_ir.generators import gguf
from expandr_ir.generators.adapters import adapter_folder, is_zero, load_adapter
from expandr_ir.generators.chat import model_errors
from expandr_ir.generators.gguf import load_base
from expandr_ir.io.files import output_folder, read_json, sha256_file, sha256_json, write_text
from expandr_ir.io.manifest import Summary, write_manifest
from expandr_ir.runtime import require

Identity: TypeAlias = Mapping[str, str | None]


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
        output: the folder of the merged model.
    """

    adapter: str
    adapter_revision: str | None = None
    base: str | None = None
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    push_to_hub: str | None = None
    private: bool = False
    trust_remote_code: bool = False
    output: str


def merge(options: MergeOptions) -> Summary:
    """Merges and writes; the weights come last but for the manifest.

    Raises:
        InputError: no adapter, an adapter for another base, or a folder that holds something else.
        ExpandrError: the upload failed; the merged model is there.
    """
    from expandr_ir.train.card import CARD, expander_card
    from expandr_ir.train.run_folder import CURVES, read_curves, weights_file, weights_manifest

    transformers, torch = require("transformers"), require("torch")
    output, folder = output_folder(options.output), Path(options.adapter)
    if folder.is_dir() and not (folder / "adapter_config.json").is_file():
        is_whole = (folder / "config.json").is_file() and weights_file(folder) is not None
        raise InputError(
            f"{folder} " + ("holds a whole model: there is nothing to merge" if is_whole else "holds no adapter"),
            expected="the folder of a run with --lora, or a PEFT adapter",
            remedy=f"--generator local:{folder}" if is_whole else None,
        )
    config = GeneratorConfig("local", "", adapter=options.adapter, adapter_revision=options.adapter_revision)
    adapter = adapter_folder(config)
    assert adapter is not None
    settings = read_json(adapter / "adapter_config.json")
    manifest = weights_manifest(adapter)
    recorded = manifest.get("details", {}).get("base") or {}
    name = options.base or recorded.get("model") or settings.get("base_model_name_or_path")
    if not name:
        raise InputError(f"{adapter} does not say what its base is", remedy="--base MODEL")
    if recorded.get("sha256") and not Path(name).exists() and name not in names("generators"):
        raise MissingResourceError(
            f"the base of {adapter}, {name}, is not there any more",
            expected="the folder it was trained over",
            remedy="--base FOLDER, if it was moved",
        )
    if output.exists() and any(output.iterdir()) and not (output / "config.json").is_file():
        raise InputError(f"{output} holds something else", expected="a new or empty folder", remedy="another --output")
    revision = options.revision or recorded.get("revision") or settings.get("revision")
    base = load_base(name, revision)
    revision = None if Path(base.model).is_dir() else base.revision
    where = {"trust_remote_code": options.trust_remote_code, "revision": revision}
    with model_errors(name):
        commit = getattr(transformers.AutoConfig.from_pretrained(base.model, **where), "_commit_hash", None)
        identity = base_identity(name, revision, commit)
        if recorded:
            check_base(adapter, recorded, identity)
        dtype = "auto" if options.dtype == "auto" else getattr(torch, options.dtype)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            base.model, dtype=dtype, use_safetensors=True, **where
        )
        # The adapter's tokenizer has the chat template of its training.
        source = (str(adapter), {}) if (adapter / "tokenizer_config.json").is_file() else (base.model, where)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source[0], **source[1])
    model = _add_adapter(model, adapter, name)
    output.mkdir(parents=True, exist_ok=True)
    with model_errors(str(output)):
        tokenizer.save_pretrained(output)
        model.save_pretrained(output, safe_serialization=True)
    write_text(output / CARD, expander_card(output.name, manifest, read_curves(adapter / CURVES), merged=True))
    weights = weights_file(output)
    assert weights is not None
    write_manifest(
        weights,
        options=options,
        inputs={"adapter": adapter / "adapter_model.safetensors"},
        seeds=manifest.get("seeds", {}),
        details={"base": identity, "training": {part: manifest.get(part) for part in ("config", "counts", "details")}},
    )
    return Summary({"uploaded to": _push(output, options)} if options.push_to_hub else {}, output)


def _add_adapter(model: Any, adapter: Path, name: str) -> Any:
    """The sum of both in float32, in the model's own type; only zeros may leave all weights as they are."""
    dtype = model.dtype
    before = _fingerprints(model, dtype)
    adapted = load_adapter(model.float(), adapter, name)
    if not hasattr(adapted, "merge_and_unload"):
        kind = adapted.peft_config["default"].peft_type.value
        raise InputError(
            f"{adapter} is an adapter of type {kind}, which is no part of the weights",
            expected="LORA, or another that can be merged",
            remedy="its base with --generator.adapter, without merging",
        )
    merged = adapted.merge_and_unload(safe_merge=True).to(dtype)
    if _fingerprints(merged, dtype) == before and not is_zero(adapter):
        raise InputError(
            f"merged, {name} has the weights that it had before: {adapter} changes too little to show in {dtype}",
            expected="changed weights",
            remedy="--dtype float32",
        )
    return merged


def _fingerprints(model: Any, dtype: Any) -> dict[str, tuple[float, float]]:
    """The sum and the sum of squares of each parameter in `dtype`: equal weights have equal ones."""
    torch = require("torch")
    fingerprints = {}
    for name, parameter in model.state_dict().items():
        values = parameter.to(dtype).to(torch.float64)
        fingerprints[name] = values.sum().item(), values.square().sum().item()
    return fingerprints


def _push(folder: Path, options: MergeOptions) -> str:
    """The address of the repository that the folder was uploaded to."""
    hub = require("huggingface_hub")
    try:
        address = hub.create_repo(options.push_to_hub, private=options.private, exist_ok=True)
        hub.upload_folder(repo_id=address.repo_id, folder_path=str(folder), commit_message="Merged by expandr_ir")
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.LocalTokenNotFoundError) as error:
        raise ExpandrError(
            f"{folder} is merged, and was not uploaded to {options.push_to_hub}: {error}",
            remedy=f"hf auth login; then: hf upload {options.push_to_hub} {folder}",
        ) from error
    return str(address)


def base_identity(model: str, revision: str | None, commit: str | None = None) -> Identity:
    """The identity of a base: hub id, revision and commit, or a folder or GGUF file with a hash."""
    base = load_base(model, revision)
    folder = Path(base.model)
    if not folder.is_dir():
        return {"model": base.model, "revision": base.revision, "commit": commit, "sha256": None}
    if origin := gguf.origin(folder):
        name = str(Path(model).resolve()) if Path(model).exists() else model
        return {"model": name, "revision": None, "commit": None, "sha256": origin.sha256}
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    digest = sha256_json([[path.name, sha256_file(path)] for path in files if path.is_file()])
    return {"model": str(folder.resolve()), "revision": None, "commit": None, "sha256": digest}


def check_base(adapter: Path, recorded: Identity, base: Identity) -> None:
    """Refuses a base that an adapter was not trained over: a folder is known by its content, a hub id by its commit."""
    if recorded["sha256"] or base["sha256"]:
        same = recorded["sha256"] == base["sha256"]
    else:
        commits = {recorded["commit"], base["commit"]} - {None}
        same = recorded["model"] == base["model"] and len(commits) < 2
    if not same:
        raise InputError(
            f"{adapter} was trained over {_name(recorded)}, and the base here is {_name(base)}",
            expected="the same base, with the same weights",
            remedy=f"--base {recorded['model']}",
        )


def _name(identity: Identity) -> str:
    version = identity["sha256"] or identity["commit"] or identity["revision"]
    return f"{identity['model']} ({version[:12]})" if version else str(identity["model"])
