"""Outputs are checked before the work."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from expandr_ir.errors import ExpandrError, InputError
from expandr_ir.io.outputs import output_file, output_folder

pytestmark = pytest.mark.flash


def test_a_file_in_a_folder_that_is_still_to_be_made(tmp_path):
    assert output_file(str(tmp_path / "a" / "b" / "x.run")) == tmp_path / "a" / "b" / "x.run"
    assert output_folder(str(tmp_path / "a")) == tmp_path / "a"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_a_device_and_a_file_in_the_folders_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"is a folder(.|\n)*Try: --output .*NAME"):
        output_file(str(tmp_path))
    with pytest.raises(InputError, match="is a folder"):
        output_file(f"{tmp_path}/new/")
    with pytest.raises(InputError, match="is no plain file"):
        output_file(os.devnull)
    with pytest.raises(InputError, match="is a file"):
        output_folder(str(tmp_path / "file"))
    with pytest.raises(ExpandrError, match="file cannot be written"):
        output_file(str(tmp_path / "file" / "x.run"))


def test_what_is_read_is_not_written(tmp_path):
    (tmp_path / "e.jsonl").write_text("x")
    with pytest.raises(InputError, match="is also read"):
        output_file(str(tmp_path / "a" / ".." / "e.jsonl"), [None, str(tmp_path / "e.jsonl")])
    assert output_file(str(tmp_path / "e.jsonl"), [None, str(tmp_path / "other")]) == tmp_path / "e.jsonl"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.run").write_text("x")
    (tmp_path / "link.run").symlink_to(tmp_path / "real.run")
    assert output_file(str(tmp_path / "link.run")) == tmp_path / "real.run"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else():
    code = (
        "import os, sys; from expandr_ir.io.outputs import output_file; os.setuid(65534)\n"
        "try: output_file(sys.argv[1])\n"
        "except Exception as error: print(error)"
    )
    search = os.pathsep.join(sys.path)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        done = subprocess.run(
            [sys.executable, "-c", code, f"{folder}/x.run"],
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            check=True,
        )
    assert f"{folder} cannot be written" in done.stdout
