"""One self-contained page: figures, plots, commands, and topics in full; it loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from expandr_ir.regress.results import VERDICTS
from expandr_ir.report.details import details
from expandr_ir.report.evidence import TOP, Evidence, gather, remarks
from expandr_ir.report.figures import levels, mark, mean, signed
from expandr_ir.report.markup import Markup, data, join, tag
from expandr_ir.report.matrix import matrices, slug
from expandr_ir.report.pertopic import DOCUMENT_CHARACTERS, EXPANSION_CHARACTERS, PER_TOPIC, Topics, in_full
from expandr_ir.report.plots import legend
from expandr_ir.report.plotted import figures_of
from expandr_ir.report.study import Chapter, Study

MEANINGS = {
    "OK": "equal to the expected figure",
    "OK*": "within its tolerance",
    "FAIL": "neither",
    "SKIP": "not run",
    "NEW": "no figure to hold it against",
}
"""What each verdict says."""


def page_of(
    run_dir: Path,
    *,
    collections: Sequence[str] = (),
    data_dir: Path | None = None,
    per_topic: int = PER_TOPIC,
    say: Callable[[str], object] = lambda _: None,
) -> str:
    """The page of a folder of runs.

    Args:
        run_dir: a folder with results.json and the runs that it names.
        collections: those to show; all where none is named.
        data_dir: a folder to look for collections in where they are not at the recorded place.
        per_topic: most topics of a collection that are shown in full; 0 shows none.
        say: is told what a reader must know, which stands on the page too.

    Raises:
        MissingResourceError: there is no results.json.
        InputError: it is not of this format or holds no result, no such collection, or a run that cannot be read.
    """
    study, weighed = gather(run_dir, data_dir, collections)
    chapters, parts, embedded = [], [], []
    anchors = _anchors(study)
    for chapter, evidence in weighed:
        topics = in_full(chapter, evidence, run_dir, per_topic) if evidence and evidence.scores and per_topic else None
        chapters.append(chapter)
        for remark in remarks([chapter]):
            say(remark)
        parts.append(_chapter(chapter, anchors, evidence, topics))
        if topics is not None:
            embedded.append(tag("script", data(topics.data), type="application/json", class_="topics"))
    return page(Study(tuple(chapters), study.versions, study.date), parts, embedded, anchors)


def page(
    study: Study, parts: Sequence[Markup], embedded: Sequence[Markup], anchors: Mapping[tuple[str, str], str]
) -> str:
    """The whole document.

    Args:
        study: for the head and the matrix.
        parts: one for each collection.
        embedded: data of the topics shown in full.
        anchors: (collection, condition) -> its id.
    """
    style, script = _asset("page.css"), _asset("page.js")
    allowed = f"img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    policy = f"default-src 'none'; form-action 'none'; {allowed}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=f"expandr_ir {study.versions.get('expandr_ir', '')}".strip()),
        tag("title", _title(study)),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(style)),
        tag("script", Markup(script)),
    )
    families = list(dict.fromkeys(one.result.family for chapter in study.chapters for one in chapter.conditions))
    main = tag(
        "main",
        tag(
            "section", tag("h2", "Results"), _findings(study), legend(families), matrices(study, anchors), id="results"
        ),
        *parts,
        _about(study),
        id="main",
        tabindex=-1,
    )
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        _header(study),
        main,
        tag("section", id="topic", hidden=True, tabindex=-1, aria_label="Topic"),
        tag("div", id="said", role="status", class_="said"),
        *embedded,
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _chapter(
    chapter: Chapter, anchors: Mapping[tuple[str, str], str], evidence: Evidence | None, topics: Topics | None
) -> Markup:
    """A collection: facts, plots, topics, conditions."""
    topics_said = None if chapter.topics is None else f"{chapter.topics:,} judged topics"
    facts = filter(None, [f"split {chapter.split}" if chapter.split else None, topics_said, chapter.spec])
    notes = tag("ul", *(tag("li", note) for note in chapter.notes), class_="notes") if chapter.notes else None
    plots = figures_of(chapter, anchors)
    parts = [details(chapter, one, anchors[chapter.name, one.name], evidence, topics) for one in chapter.conditions]
    buttons = tag(
        "div",
        tag("button", "Open all", type="button", class_="open-all"),
        tag("button", "Close all", type="button", class_="close-all"),
        class_="buttons",
    )
    return tag(
        "section",
        tag("h2", chapter.title),
        tag("p", " · ".join(facts), class_="facts-line"),
        notes,
        tag("div", *plots, class_="plots") if plots else None,
        _topics(chapter, topics) if topics is not None else None,
        tag("div", tag("h3", "Conditions"), buttons, class_="heading"),
        *parts,
        id=f"collection-{slug(chapter.name)}",
        class_="chapter",
    )


def _topics(chapter: Chapter, topics: Topics) -> Markup:
    """A list of the topics shown in full, which the page's script fills when it is opened."""
    shown = len(topics.shown)
    what = f"all {shown:,}" if shown == topics.total else f"the {shown:,} of {topics.total:,} that moved most"
    return tag(
        "details",
        tag("summary", tag("span", "Topics in full", class_="title"), tag("span", what, class_="kind")),
        tag("div", tag("noscript", tag("p", "The topics are shown by a script of this page.")), class_="body"),
        class_="topic-list",
        data_collection=chapter.name,
    )


def _header(study: Study) -> Markup:
    versions = {name: study.versions[name] for name in ("expandr_ir", "pyserini") if name in study.versions}
    said = " · ".join([study.date[:10], *(f"{name} {version}" for name, version in versions.items())])
    links = [tag("a", chapter.title, href=f"#collection-{slug(chapter.name)}") for chapter in study.chapters]
    return tag(
        "header",
        tag("div", tag("h1", _title(study)), tag("p", said, class_="facts-line")),
        tag("button", "Theme: auto", type="button", id="theme"),
        tag(
            "nav", tag("a", "Results", href="#results"), *links, tag("a", "About", href="#about"), aria_label="Sections"
        ),
    )


def _title(study: Study) -> str:
    count = len(study.conditions)
    where = study.chapters[0].title if len(study.chapters) == 1 else f"{len(study.chapters)} collections"
    return f"{where}: {count} condition{'' if count == 1 else 's'}"


def _findings(study: Study) -> Markup:
    """Counts of the verdicts, and the best condition of each collection."""
    counts = study.results.counts()
    badges = [
        tag(
            "li",
            tag("span", name, class_=f"verdict v-{slug(name)}"),
            f" {counts[name]}",
            tag("span", f" {MEANINGS[name]}", class_="kind"),
        )
        for name in VERDICTS
        if counts[name]
    ]
    best = (
        [tag("li", line) for chapter in study.chapters if (line := _best(chapter))] if len(study.chapters) <= 3 else []
    )
    return join(tag("ul", *badges, class_="counts"), tag("ul", *best, class_="best-of") if best else None)


def _best(chapter: Chapter) -> Markup | None:
    """The collection's best condition on its main metric, with what its baseline scores."""
    metric = chapter.metrics[0]
    names = chapter.best(metric)
    condition = next((one for one in chapter.conditions if one.name in names), None)
    value = condition.value(metric) if condition else None
    if condition is None or value is None or value.measured is None:
        return None
    contrast = condition.contrasts.get(metric)
    against = ""
    if contrast is not None:
        against = (
            f", {signed(contrast.difference, value.precision)}{mark(contrast.p_holm)} to {condition.result.baseline}"
        )
    figure = tag("b", mean(value.measured, value.precision))
    return join(f"Best {metric} on {chapter.title}: ", tag("bdi", condition.name), " with ", figure, against)


def _about(study: Study) -> Markup:
    """How the figures came about."""
    families = [
        f"{chapter.title}: {', '.join(f'{size} tests against {name}' for name, size in sizes.items())}"
        for chapter in study.chapters
        if (sizes := _family_sizes(chapter))
    ]
    tests = (
        "Differences are to the condition's baseline. Marks: two-sided paired t-test over the judged topics, p "
        f"corrected after Holm over all conditions and metrics of one baseline, {levels()}. "
    )
    texts = (
        f"Means are over all judged topics. A topic shown in full has the first {TOP} documents of each ranking, as "
        f"trec_eval orders them; texts end in … where they were cut (documents after {DOCUMENT_CHARACTERS} characters, "
        f"expansions after {EXPANSION_CHARACTERS})."
    )
    verdicts = "; ".join(f"{name} {meaning}" for name, meaning in MEANINGS.items())
    published = "Published figures are shown beside ours and never judged."
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", version)) for name, version in study.versions.items()]
    return tag(
        "section",
        tag("h2", "About these figures"),
        tag("p", tests, "; ".join(families)),
        tag("p", texts),
        tag("p", f"Verdicts: {verdicts}. {published}"),
        tag(
            "details",
            tag("summary", "Versions"),
            tag("table", tag("tbody", *rows), class_="versions"),
            class_="manifest",
        ),
        tag("p", f"Written by expandr report; the results are of {study.date}.", class_="facts-line"),
        id="about",
    )


def _family_sizes(chapter: Chapter) -> dict[str, int]:
    return {
        str(one.result.baseline): contrast.family
        for one in chapter.conditions
        for contrast in one.contrasts.values()
        if contrast.family
    }


def _anchors(study: Study) -> dict[tuple[str, str], str]:
    """An id for each condition of each collection."""
    anchors: dict[tuple[str, str], str] = {}
    for chapter in study.chapters:
        for condition in chapter.conditions:
            wanted = f"{slug(chapter.name)}-{slug(condition.name)}"
            taken = set(anchors.values())
            numbers = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
            anchors[chapter.name, condition.name] = next(one for one in (wanted, *numbers) if one not in taken)
    return anchors


def _asset(name: str) -> str:
    return resources.files("expandr_ir.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
