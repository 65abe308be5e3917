"""The command line's spellings become dataclasses."""

import shlex
from dataclasses import dataclass, field

import pytest

from expandr_ir.cli.parser import parse
from expandr_ir.cli.table import VERBS
from expandr_ir.cli.verb import Verb
from expandr_ir.config import GeneratorConfig
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
    """

    generator: GeneratorConfig
    topics_field: str | None = None
    measures: list[str] = field(default_factory=list)
    dry_run: bool = False
    repeats: int | str = 5
    weight: float = 0.5
    runs: list[str] = field(default_factory=list)
    scales: list[float] = field(default_factory=lambda: [1.0, 2.0])


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
    got = options("--config", str(config), "--weight", "0.75", "-m", "R@5")
    assert (got.generator.model, got.weight, got.dry_run, got.measures) == ("m", 0.75, True, ["R@5"])


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


@pytest.mark.parametrize("name", VERBS)
def test_every_option_of_every_verb_is_checked_and_its_examples_parse(name):
    pytest.importorskip("torch")  # options stand beside the code that they configure
    verb = VERBS[name]
    _, options_class = verb.load()
    for line in verb.examples.replace("\\\n", " ").strip().splitlines():
        if line.startswith(f"expandr {name}") and "..." not in line:
            words = shlex.split(line)[len(name.split()) + 1 :]
            parse(name, verb, options_class, words)
