"""The command line's spellings become dataclasses."""

import json
import shlex
import typing
from dataclasses import dataclass, field

import pytest
import yaml

from expandr_ir.cli.parser import _forms, _options, parse
from expandr_ir.cli.table import VERBS
from expandr_ir.cli.verb import Verb
from expandr_ir.config import GeneratorConfig, JsonField
from expandr_ir.errors import InputError

pytestmark = pytest.mark.flash


@dataclass(frozen=True)
class Options:
    """Options of a verb.

    Args:
        generator: the LLM.
        topics_field: a field.
        measures: measures.
        dry_run: only say.
        repeats: a number or a word.
        weight: a weight.
        runs: files.
        scales: numbers, with a default.
        settings: of another package.
    """

    generator: GeneratorConfig
    topics_field: str | None = None
    measures: list[str] = field(default_factory=list)
    dry_run: bool = False
    repeats: int | str = 5
    weight: float = 0.5
    runs: list[str] = field(default_factory=list)
    scales: list[float] = field(default_factory=lambda: [1.0, 2.0])
    settings: dict[str, JsonField] = field(default_factory=lambda: {"beta": 0.1})


def options(*argv: str) -> Options:
    return parse("try", Verb("tries", "", "expandr try --generator echo a.run", "runs"), Options, argv)


def test_flags_lists_blocks_and_bare_words_in_any_order():
    line = (
        "a.run --generator echo:org/x:y -m nDCG@10 --dry-run b.run --measure R@100 --repeats row --weight -1.5 "
        "--topics-field=searched --generator.decoding.max-new-tokens 7 --generator.local.trust-remote-code"
    )
    got = options(*line.split())
    assert got.runs == ["a.run", "b.run"]
    assert got.measures == ["nDCG@10", "R@100"]
    assert (got.dry_run, got.repeats, got.weight, got.topics_field) == (True, "row", -1.5, "searched")
    assert (got.generator.engine, got.generator.model, got.generator.decoding.max_new_tokens) == ("echo", "org/x:y", 7)
    assert got.generator.local.trust_remote_code


def test_the_command_line_goes_over_files(tmp_path):
    block, config = tmp_path / "mine.yaml", tmp_path / "c.yaml"
    block.write_text("engine: echo\nmodel: m\ndecoding: {temperature: 0.5, stop: [a, b]}\n")
    got = options("--generator", str(block), "--generator.decoding.temperature", "0.7")
    assert (got.generator.decoding.temperature, got.generator.decoding.stop) == (0.7, ("a", "b"))
    config.write_text("generator: echo:m\nmeasures: [AP]\nweight: 0.25\ndry_run: true\n")
    typed = ("--weight", "0.75", "-m", "R@5", "--generator.decoding.temperature", "0")
    for words in (("--config", str(config), *typed), (*typed, "--config", str(config))):
        got = options(*words)
        assert (got.generator.model, got.weight, got.dry_run, got.measures) == ("m", 0.75, True, ["R@5"])
        assert got.generator.decoding.temperature == 0


def test_printed_config_is_a_config(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        options("--generator", "echo:m", "--weight", "0.75", "--print_config")
    assert stop.value.code == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert options("--config", str(path)) == options("--generator", "echo:m", "--weight", "0.75")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--generator echo:m --dry-rum", "Try: --dry-run"),
        ("--generator echo:m --generator.decoding.temprature 1", "Try: --generator.decoding.temperature"),
        ("--generator echo:m --weight heavy", "weight"),
        ("--generator echo:m --generator.decoding.max_new_tokens 4.7", "max-new-tokens 4.7\nExpected: a whole number"),
        ("--generator echo:m --weight", "--weight has no value"),
        ("--generator no-such-generator", "unknown generator 'no-such-generator'"),
        ("a.run", "--generator is missing"),
        ("--generator.model m", "--generator.engine is missing"),
        ("--generator echo:m --generator.local.dtype float", "unknown value of --generator.local.dtype 'float'"),
        ('--generator {"engine":"echo","modle":"m"}', "unknown option in --generator 'modle'"),
        ('--generator {"engine"', "--generator, line 2: "),
        ("--generator echo:m --scales heavy", "Expected: a number, the flag repeated, or a JSON list"),
        ("--generator echo:m --settings heavy", "Expected: a JSON object, or its entries as"),
    ],
)
def test_bad_arguments_are_named(line, message):
    with pytest.raises(InputError, match=message):
        options(*line.split())


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--config", "- a", "holds list"),
        ("--config", "a: [", r"c\.yaml"),
        (
            "--config",
            "generator: {engine: echo, model: m, decoding: {temprature: 1}}",
            r"unknown option in --config .*c\.yaml 'temprature'(.|\n)*Try: temperature",
        ),
        ("--config", "wieght: 1", r"c\.yaml 'wieght'(.|\n)*Try: weight"),
        ("--generator", "{engine: echo, locl: {}}", r"unknown option in .*c\.yaml 'locl'(.|\n)*Try: local"),
        ("--generator", "{engine: echo, model: m, decoding: null}", r"--generator.decoding null\nExpected: a mapping"),
        ("--generator", "{engine: echo, model: m, api: }", r"--generator.api null\nExpected: a mapping"),
        ("--generator", "{engine: echo, model: m, api: x}", r"c.yaml, api x: holds str"),
        ("--generator", "{engine: echo, model: m, decoding: {stop: null}}", r"--generator.decoding.stop null"),
        ("--generator", f"{{engine: echo, model: m, decoding: {{seed: 1{'0' * 19}}}}}", "--generator.decoding.seed 1"),
        ("--generator", "{engine: echo, model: m, decoding: {seed: 2024-01-01}}", "--generator.decoding.seed 2024"),
        ("--generator.decoding", "{seed: !!int x}", "line 1: 'x' is no int"),
        ("--generator.decoding", "x", "holds str"),
        ("--config", "{generator: {engine: echo, model: m}, scales: null}", "--scales null"),
        ("--config", "{generator: {engine: echo, model: m}, weight: null}", "--weight"),
    ],
)
def test_files_are_checked(tmp_path, option, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        options(option, str(path))


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["a,b", "\n"], ("a,b", "\n")),
        (["[END]", "3"], ("[END]", "3")),
        (['["a", "b"]', "c"], ("a", "b", "c")),
    ],
)
def test_a_tuple_is_a_repeated_flag_too(words, texts):
    given = [word for text in words for word in ("--generator.decoding.stop", text)]
    assert options("--generator", "echo:m", *given).generator.decoding.stop == texts


def test_a_list_that_is_typed_replaces_the_default_and_the_configuration(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("scales: [3, 4, 5]\n")
    start = ("--generator", "echo:m", "--config", str(config))
    assert options("--generator", "echo:m").scales == [1.0, 2.0]
    assert options(*start).scales == [3.0, 4.0, 5.0]
    assert options(*start, "--scales", "6", "--scales", "7").scales == [6.0, 7.0]
    assert options(*start, "--scales", "[8]").scales == [8.0]


def test_after_two_dashes_words_are_bare():
    assert options("--generator", "echo:m", "--", "--odd.run", "a.run").runs == ["--odd.run", "a.run"]


def test_help_shows_hyphens_and_examples(capsys):
    with pytest.raises(SystemExit):
        options("--help")
    text = capsys.readouterr().out
    shown = [
        *("usage: expandr try [options] RUN ...", "-m VALUE, --measures VALUE", "--generator NAME", "--topics-field"),
        *("(default: 0.5)", "  expandr try --generator echo a.run"),
    ]
    assert [words for words in shown if words not in text] == []
    assert "type:" not in text
    assert "Path to a configuration file" not in text


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--settings.loss-type sft --settings.loss_type sigmoid", {"beta": 0.1, "loss_type": ["sft", "sigmoid"]}),
        ('--settings.loss_type ["sft"] --settings.loss_type sigmoid', {"beta": 0.1, "loss_type": ["sft", "sigmoid"]}),
        ('--settings.loss_type ["sft","sigmoid"]', {"beta": 0.1, "loss_type": ["sft", "sigmoid"]}),
        ("--settings.loss_type sft", {"beta": 0.1, "loss_type": "sft"}),
        ('--settings {"loss_type":["sft"]}', {"loss_type": ["sft"]}),
    ],
)
def test_a_repeated_entry_of_a_dictionary_is_a_list(words, settings):
    assert options("--generator", "echo:m", *words.split()).settings == settings


@pytest.mark.parametrize(
    ("words", "training"),
    [
        ("--training.max_steps 4 --training.max_steps 6", {"max_steps": "6"}),  # a number once it is fitted
        ("--training.report_to wandb --training.report_to trackio", {"report_to": ["wandb", "trackio"]}),
    ],
)
def test_a_repeated_entry_that_can_be_no_list_is_the_last_one(words, training):
    pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    verb = VERBS["train retriever"]
    _, options_class = verb.load()
    line = ["--encoder", "e", "--data.rows", "r", "--objective.aggregation", "none", "--output", "o", *words.split()]
    assert parse("train retriever", verb, options_class, line).training == training


def test_an_entry_of_a_dictionary_in_a_block_is_typed_in_both_spellings():
    words = "--generator.api.extra-body.bad_words a --generator.api.extra_body.bad_words b"
    assert options("--generator", "api:m", *words.split()).generator.api.extra_body == {"bad_words": ["a", "b"]}


def test_the_text_of_a_block_may_be_longer_than_a_file_s_name(tmp_path):
    path = tmp_path / "o.yaml"
    path.write_text(f"generator:\n  engine: api\n  model: m\n  api: '{{extra_body: {{field: {'x' * 300}}}}}'\n")
    assert options("--config", str(path)).generator.api.extra_body == {"field": "x" * 300}


def run_options(*words):
    _, options_class = VERBS["run"].load()
    return parse("run", VERBS["run"], options_class, ["--expander", "hyde", "--output", "o", *words])


HYDE = (0.7, 1.0, 512, ("\n\n\n",))


@pytest.mark.parametrize(
    ("words", "engine", "decoding"),
    [
        ("--generator echo", "echo", HYDE),
        ("--generator YAML", "echo", HYDE),
        ("--generator.decoding.max_new_tokens 100", "api", (0.7, 1.0, 100, HYDE[3])),
        ("--generator.api.base_url http://localhost:1/v1", "api", HYDE),
        (
            "--generator echo --generator.decoding.temperature 0 --generator.decoding.stop x",
            "echo",
            (0, 1.0, 512, ("x",)),
        ),
        ("--generator.decoding.top_p .5 --generator YAML", "echo", (0.7, 0.5, 512, HYDE[3])),
        ('--generator {"engine":"echo","model":"m","decoding":{"temperature":1}}', "echo", (1, 1.0, 512, HYDE[3])),
        ("--config NAMED --generator.decoding.temperature 0", "echo", (0, 1.0, 512, HYDE[3])),
        ("--config WRITTEN", "api", (0.25, 1.0, 512, HYDE[3])),
    ],
)
def test_run_takes_what_is_typed_over_the_expander_over_a_named_generator(tmp_path, words, engine, decoding):
    (tmp_path / "YAML.yaml").write_text("engine: echo\nmodel: m\ndecoding: {temperature: 0.5, max_new_tokens: 7}\n")
    (tmp_path / "NAMED.yaml").write_text("generator: echo\n")
    (tmp_path / "WRITTEN.yaml").write_text("generator: {decoding: {temperature: 0.25}}\n")
    files = {path.stem: str(path) for path in tmp_path.iterdir()}
    generator = run_options(*(files.get(word, word) for word in words.split())).generator
    assert generator.engine == engine
    assert (generator.model == "gpt-4.1") == (engine == "api")
    got = generator.decoding
    assert (got.temperature, got.top_p, got.max_new_tokens, got.stop) == decoding


def test_a_run_without_a_generator_leaves_it_to_the_expander_and_a_printed_one_is_the_same(tmp_path, capsys):
    assert run_options().generator is None
    words = ("--generator", "echo", "--generator.decoding.temperature", "0")
    with pytest.raises(SystemExit):
        run_options(*words, "--print_config")
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert run_options("--config", str(path)) == run_options(*words)


@pytest.mark.parametrize(
    ("verb", "words", "remedy"),
    [
        ("regress", "--generator echo --generator.decoding.seed 7", "Try: --seed in its place"),
        ("regress", "--generator echo --generator.decoding.max-new-tokens 7", "Try: expandr run --expander NAME"),
        ("train order", "--generator.decoding.temperature 1", "Try: nothing"),
        ("train preferences", "--generator.decoding.temperature 1", "Try: --temperatures in its place"),
        ("train preferences", "--top-p .5 --generator.decoding.top_p 1", "Try: --top-p in its place"),
    ],
)
def test_what_a_verb_does_not_take_of_a_generator_is_refused(verb, words, remedy):
    pytest.importorskip("torch")
    _, options_class = VERBS[verb].load()
    line = "" if verb == "regress" else "--rows r --output o --generator echo "
    line += "--encoder all-MiniLM-L6-v2 " if verb == "train preferences" else ""
    with pytest.raises(InputError, match=f"changes nothing in expandr {verb}(.|\n)*{remedy}"):
        parse(verb, VERBS[verb], options_class, (line + words).split())


def test_what_a_verb_leaves_to_the_generator_is_taken():
    pytest.importorskip("torch")
    _, options_class = VERBS["train preferences"].load()
    words = "--rows r --output o --generator echo --encoder all-MiniLM-L6-v2 --generator.decoding.top_p .5"
    options = parse("train preferences", VERBS["train preferences"], options_class, words.split())
    assert options.generator.decoding.top_p == 0.5


def values_of(hint):
    """Two values that a list of this type may have."""
    (element,) = (typing.get_args(form)[0] for form in _forms(hint) if typing.get_origin(form) in {list, tuple})
    return list(typing.get_args(element)[:2]) or ([0.25, 0.75] if element is float else ["[END]", "3"])


@pytest.mark.parametrize("name", VERBS)
def test_every_list_of_every_verb_is_a_repeated_flag_and_a_json_list(name, capsys):
    pytest.importorskip("torch")
    verb = VERBS[name]
    _, options_class = verb.load()
    for key, option in _options(options_class):
        if option.kind != "list" or key == verb.positional:
            continue
        flag, values = f"--{key}", values_of(option.hint)
        for words in (
            [word for value in values for word in (flag.replace("_", "-"), str(value))],
            [f"{flag}={value}" for value in values],
            [flag, json.dumps(values)],
            [flag, json.dumps(values[:1]), f"{flag}={values[1]}"],
        ):
            with pytest.raises(SystemExit):
                parse(name, verb, options_class, [*words, "--print_config"])
            printed = yaml.safe_load(capsys.readouterr().out)
            for part in key.split("."):
                printed = printed[part]
            assert printed == values, words


@pytest.mark.parametrize("name", VERBS)
def test_every_option_of_every_verb_is_checked_and_its_examples_parse(name):
    pytest.importorskip("torch")  # options stand beside the code that they configure
    verb = VERBS[name]
    _, options_class = verb.load()
    for line in verb.examples.replace("\\\n", " ").strip().splitlines():
        if line.startswith(f"expandr {name}") and "..." not in line:
            words = shlex.split(line)[len(name.split()) + 1 :]
            parse(name, verb, options_class, words)
