"""Conditions become steps: what is searched, how, what it lacks on this machine, and the commands that do the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from expandr_ir.config import EncoderConfig, GeneratorConfig, generator_config
from expandr_ir.encoders import encoder_config
from expandr_ir.errors import InputError, unknown_name
from expandr_ir.expanders import ExpanderConfig, expander_config
from expandr_ir.io.files import home
from expandr_ir.regress.catalogue import TIERS, Condition, Regression, Regressions
from expandr_ir.retrievers import SearchOptions

Names: TypeAlias = list[str]  # `list` is an option below

EXPANDER_RUN = ("retriever", "encoder", "hits", "index", "dense_index")
"""Search options of `expandr run`; the rest is the expander's."""

load_encoder_config = cache(encoder_config)
load_expander_config = cache(expander_config)


@dataclass(frozen=True, kw_only=True)
class RegressOptions:
    """Options of `expandr regress`.

    Args:
        collection: names of collections; all where none is named (repeat the flag for several).
        condition: names of conditions, or patterns such as "mugi.*".
        tier: exact, near, live, training or published.
        data: folders with collections in BEIR's layout: DATA/scifact, or DATA/beir/scifact.
        expansions: folders with recorded expansions: EXPANSIONS/scifact/mugi.gpt-4.1.jsonl, plain or .gz.
        source: where collections come from: folders of --data, ir_datasets, or Pyserini's prebuilt indexes.
        download: fetch the data and recorded expansions that are published and not here, into `downloads` under
            EXPANDR_HOME, where they are found from then on.
        output: folder of runs and results.json; None is `regressions` under EXPANDR_HOME.
        list: print collections and conditions with their known figures, and stop.
        dry_run: print what would be done, and stop.
        commands: print the commands that give each run, Pyserini's own too where there are some, and stop.
        generator: the LLM of the tier `live`: a name of conf/generators, a YAML file, or engine:model; without one,
            only conditions that name theirs are run, where --tier or --condition selects them.
        seed: of the LLM's samples.
        record: also add the measured values, with versions, to this file of yours.
        promote: merge such a file into the regressions, and stop.
        regressions: a folder of regressions in place of the package's own.
        resume: go on with the last command of --output, with the options that it had.
        jobs: BM25 searches at once, inside Java; None takes all cores.
        format: text or json.
    """

    collection: Names = field(default_factory=Names)
    condition: Names = field(default_factory=Names)
    tier: Names = field(default_factory=Names)
    data: Names = field(default_factory=Names)
    expansions: Names = field(default_factory=Names)
    source: Literal["folder", "irds", "pyserini"] = "folder"
    download: bool = False
    output: str | None = None
    list: bool = False
    dry_run: bool = False
    commands: bool = False
    generator: GeneratorConfig | None = None
    seed: int = 0
    record: str | None = None
    promote: str | None = None
    regressions: str | None = None
    resume: bool = False
    jobs: int | None = None
    format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class Step:
    """One condition of one collection."""

    regression: Regression
    condition: Condition
    options: SearchOptions | None = None  # None where nothing is searched
    collection: str = ""  # as `load_collection` takes it; "" where it is not here
    expansions: Path | None = None  # the file of recorded expansions, where it has some that are here
    generator: GeneratorConfig | None = None  # the LLM, where one writes the expansions and it is known
    skip: str = ""  # why it cannot be run here

    @property
    def name(self) -> str:
        """The run's name in the output folder, without its ending."""
        return f"{self.regression.name}/{self.condition.name}"

    @property
    def split(self) -> str | None:
        """The split to load: a folder has several, and the names of ir_datasets and Pyserini are of one."""
        return None if self.collection.startswith(("irds:", "pyserini:")) else self.regression.facts.split

    @property
    def expander(self) -> ExpanderConfig | None:
        """The expander, where an LLM writes the expansions."""
        return load_expander_config(self.condition.expander) if self.condition.expander else None

    @property
    def llm(self) -> str | None:
        """The LLM that writes the expansions, as it is typed."""
        given = self.generator
        return self.condition.generator or (f"{given.engine}:{given.model}" if given else None)

    @property
    def encoder(self) -> EncoderConfig | None:
        """The encoder; None for BM25."""
        name = self.options.encoder if self.options and self.options.retriever != "sparse" else None
        return load_encoder_config(name) if name else None


def downloads_folder() -> Path:
    """The folder of downloads, which is always searched."""
    return home() / "downloads"


def plan(regressions: Regressions, options: RegressOptions) -> list[Step]:
    """A step for each selected condition, collection by collection, the parts of a mean before it."""
    for tier in options.tier:
        if tier not in TIERS:
            raise unknown_name("tier", tier, TIERS)
    for pattern in options.condition:
        if not any(fnmatchcase(name, pattern) for name in regressions.condition_names()):
            raise unknown_name("condition", pattern, regressions.condition_names())
    loaded: dict[str, Regression] = {}
    for name in options.collection or regressions.files:
        for part in (*regressions.load(name).facts.mean_of, name):
            loaded.setdefault(part, regressions.load(part))
    steps = [
        _step(regression, one, options)
        for regression in loaded.values()
        for one in regression.conditions.values()
        if any(fnmatchcase(one.name, pattern) for pattern in options.condition or ["*"])
        and one.tier in (options.tier or TIERS)
    ]
    if not steps:
        raise InputError(
            "no condition fits all of --collection, --condition and --tier",
            expected="conditions that the collection has",
            remedy=" ".join(["expandr regress --list", *(f"--collection {name}" for name in options.collection)]),
        )
    return steps


def _step(regression: Regression, condition: Condition, options: RegressOptions) -> Step:
    step = Step(regression, condition)
    if condition.tier == "published":
        return replace(step, skip="a published figure, not run")
    if condition.family == "training" or regression.facts.mean_of:
        return replace(step, skip=getattr(condition, "skip", ""))
    search = search_options(condition.search, step.expander)
    if options.source == "pyserini":  # its prebuilt indexes
        dense = regression.dense_index(search.encoder)
        lucene = regression.lucene_index(search.fields if search.retriever == "sparse" else "flat")
        search = replace(search, index=dense if search.retriever == "dense" else lucene, dense_index=dense)
    collection, expansions = _find_collection(regression, options), _find_expansions(regression, condition, options)
    step = replace(step, options=search, collection=collection, expansions=expansions)
    if condition.expander:
        given = generator_config(condition.generator) if condition.generator else options.generator
        step = replace(step, generator=given)
    return replace(step, skip=_lack(step, options))


def search_options(values: Mapping[str, Any], expander: ExpanderConfig | None = None) -> SearchOptions:
    """The search of a condition, with the expander's own settings where the condition says nothing."""
    known: dict[str, Any] = {one.name: one.default_factory for one in fields(SearchOptions)}
    for name in values:
        if name not in known:
            raise unknown_name("search option", name, known)
    built = {name: known[name](**value) if is_dataclass(known[name]) else value for name, value in values.items()}
    return expander.search_options(**built) if expander else SearchOptions(**built)


def _find_collection(regression: Regression, options: RegressOptions) -> str:
    """The collection as `load_collection` takes it; "" where it is not here."""
    facts = regression.facts
    if facts.embedded:
        return "demo"
    if options.source != "folder" and (name := getattr(facts, options.source)):
        return f"{options.source}:{name}"
    if facts.folder is None:
        return ""
    folders = [*(Path(name).expanduser() for name in options.data), downloads_folder()]
    group = regression.group.partition("/")[0]
    places = [place for folder in folders for place in (folder / facts.folder, folder / group / facts.folder)]
    places += [folder for folder in folders if folder.resolve().name == facts.folder]
    files = ("corpus.jsonl", "corpus.jsonl.gz")
    return next((str(place) for place in places if any((place / file).is_file() for file in files)), "")


def _find_expansions(regression: Regression, condition: Condition, options: RegressOptions) -> Path | None:
    """The file of a condition's recorded expansions, plain or .gz, if it is here."""
    if condition.expansions is None:
        return None
    if regression.facts.embedded:
        from expandr_ir.demo import expansions_path

        return expansions_path()
    folders = [*(Path(name).expanduser() for name in options.expansions), downloads_folder() / "expansions"]
    places = [place for folder in folders for place in (folder / regression.expansions_folder, folder)]
    names = (f"{condition.expansions}", f"{condition.expansions}.gz")
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _lack(step: Step, options: RegressOptions) -> str:
    """The files, models and data that the step lacks; "" where it lacks nothing."""
    facts, condition = step.regression.facts, step.condition
    if not step.collection and facts.folder:
        also = f" (or: --source irds, {facts.irds})" if facts.irds and options.source == "folder" else ""
        return f"data not here: {facts.folder} in {' or '.join(options.data) or '--data DIR'}{also}"
    if not step.collection:
        ways = [f"--source {name}, {getattr(facts, name)}" for name in ("irds", "pyserini") if getattr(facts, name)]
        return f"data not here: {' or '.join(ways)}"
    if condition.expansions and not step.expansions:
        where = " or ".join(options.expansions) or "--expansions DIR"
        return f"expansions not here: {step.regression.expansions_folder}/{condition.expansions} in {where}"
    if condition.generator and not (options.tier or options.condition):
        return f"not selected: {condition.generator} writes for minutes (--tier live)"
    if condition.expander and step.generator is None:
        return "generator not named: an LLM writes these expansions (--generator NAME)"
    return ""


def search_command(step: Step, run: str) -> str:
    """The command that makes a step's run; "" where nothing is run. What is not here is named where it would be."""
    condition = step.condition
    if step.options is None:
        return getattr(condition, "command", "")
    if condition.expander:
        words = ["run", "--expander", condition.expander, *_collection_words(step)]
        words += ["--generator", step.llm] if step.llm else []
        return shlex.join(["expandr", *words, *_search_words(step), "--output", run])
    words = ["search", *_collection_words(step)]
    if condition.expansions:
        folder = Path("EXPANSIONS") / step.regression.expansions_folder
        path = str(step.expansions or folder / condition.expansions)
        field = ["--topics", path, "--topics-field", condition.topics_field] if condition.topics_field else []
        words += field or ["--expansions", path]
    return shlex.join(["expandr", *words, *_search_words(step), "--tag", condition.name, "--output", run])


def evaluate_command(step: Step, run: str) -> str:
    """The command that scores a step's run; "" where nothing is run."""
    measures = [word for metric in step.regression.metrics for word in ("-m", metric)]
    return shlex.join(["expandr", "evaluate", *_collection_words(step), *measures, run]) if step.options else ""


def pyserini_commands(step: Step, run: str) -> tuple[str, ...]:
    """Pyserini's own commands for the same search and its scores; none where Pyserini has no such index."""
    regression, template = step.regression, step.condition.pyserini
    if template is None or step.options is None or regression.facts.pyserini is None:
        return ()
    encoder, topics, output = step.encoder, regression.facts.pyserini, shlex.quote(run)
    prefixes = encoder.query_prefix_exceptions if encoder else {}
    values = {
        "{flat}": regression.lucene_index("flat"),
        "{multifield}": regression.lucene_index("multifield"),
        "{index}": regression.facts.index if regression.dense_index(step.options.encoder) else None,
        "{topics}": topics,
        "{output}": output,
        "{remove_query}": " --remove-query" if regression.group.startswith("beir") else "",
        "{query_prefix}": prefixes.get(regression.name, encoder.query_prefix or "").strip() if encoder else None,
    }
    for placeholder, value in values.items():
        if placeholder in template and value is None:
            return ()
        template = template.replace(placeholder, value or "")
    metrics = regression.metrics.values()
    scores = (f"python -m pyserini.eval.trec_eval {metric.trec_eval} {topics} {output}" for metric in metrics)
    return (template, *scores)


def _collection_words(step: Step) -> list[str]:
    facts = step.regression.facts
    elsewhere = str(Path("DATA") / facts.folder) if facts.folder else f"irds:{facts.irds}"
    name = step.collection or (elsewhere if facts.folder or facts.irds else f"pyserini:{facts.pyserini}")
    split = [] if name.startswith(("irds:", "pyserini:")) or not facts.split else ["--split", facts.split]
    return ["--collection", name, *split]


def _search_words(step: Step) -> Iterator[str]:
    """The search options that are not the defaults, of the expander where there is one, as they are typed."""
    default = search_options({}, step.expander)
    names = sorted((option.name for option in fields(default)), key=lambda name: name != "retriever")  # it goes first
    for name in names:
        if not step.condition.expander or name in EXPANDER_RUN:
            yield from _option_words(name, getattr(step.options, name), getattr(default, name))


def _option_words(name: str, value: Any, default: Any) -> Iterator[str]:
    if value == default:
        return
    flag = f"--{name.replace('_', '-')}"
    if is_dataclass(value):
        for key, inner in vars(value).items():
            yield from _option_words(f"{name}.{key}", inner, getattr(default, key))
    elif isinstance(value, bool):
        yield from [flag] if value else [flag, "false"]
    else:
        yield from (flag, str(value))
