"""`expandr cite`: BibTeX of CITATION.cff's references, by their names and by those of configurations."""

import pytest

from expandr_ir.cli import main
from expandr_ir.cli.cite import CiteOptions, cite, papers, read_references
from expandr_ir.config import names
from expandr_ir.errors import InputError

pytestmark = pytest.mark.flash

HYDE = """\
@misc{hyde,
  title = {{Precise Zero-Shot Dense Retrieval without Relevance Labels}},
  author = {Gao, Luyu and Ma, Xueguang and Lin, Jimmy and Callan, Jamie},
  year = {2022},
  eprint = {2212.10496},
  archiveprefix = {arXiv},
  url = {https://arxiv.org/abs/2212.10496},
}"""
RRF = """\
@inproceedings{rrf,
  title = {{Reciprocal Rank Fusion Outperforms Condorcet and Individual Rank Learning Methods}},
  author = {Cormack, Gordon V. and Clarke, Charles L. A. and Buettcher, Stefan},
  booktitle = {Proceedings of the 32nd International ACM SIGIR Conference on Research and Development in Information \
Retrieval},
  pages = {758--759},
  year = {2009},
  doi = {10.1145/1571941.1572114},
}"""


def test_entries_stand_in_the_order_of_the_names_each_once(capsys):
    assert main(["cite", "rrf", "hyde", "rrf"]) == 0
    assert capsys.readouterr().out == f"{RRF}\n\n{HYDE}\n"


def test_without_names_all_papers_are_cited():
    assert cite(CiteOptions()).count("\n@") + 1 == len(read_references())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("hyde", {"hyde"}),
        ("query2doc-cot", {"query2doc", "query2e", "querygym"}),
        ("expandr", {"expandr"}),  # both are states of one arXiv id: v3 and v1
        ("llm-qe", {"llm-qe"}),
        ("retriever-reinforced-ir", {"reinforced-ir"}),
        ("dpo-leret", {"ipo", "leret"}),
        ("bge-base-en-v1.5", {"bge"}),
    ],
)
def test_a_configuration_cites_what_its_file_names(name, keys):
    assert set(papers()[name]) == keys


def test_every_expander_and_every_trainer_has_a_paper():
    known = papers()  # fails for an arXiv id of conf/ that CITATION.cff lacks
    assert [name for name in names("expanders") if name not in known] == []
    assert {"dpo", "grpo", "ipo", "bm25", "rm3", "rrf", "contriever", "pyserini"} <= set(known)


def test_an_unknown_name_is_an_error_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown paper or configuration 'hide'[\s\S]*Try: hyde"):
        cite(CiteOptions(["hyde", "hide"]))
