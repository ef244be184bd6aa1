"""What a user installs."""
from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from .places import PROJECT, ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def test_the_sdist_makes_a_whole_wheel(tmp_path: Path) -> None:
    """A wheel that is built from the sdist, far from the repository, holds noted.v1 and every module."""
    # A copy of the checkout, so that nothing is left behind in this one.
    leave = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__")
    project = tmp_path / "client/python"
    shutil.copytree(PROJECT, project, ignore=leave)
    shutil.copytree(ROOT / "gen/python", tmp_path / "gen/python")
    make = "import setuptools.build_meta as b; print(b.build_sdist({!r}))".format(str(tmp_path))
    made = subprocess.run([sys.executable, "-c", make], cwd=project, check=True, capture_output=True, text=True)
    sdist = tmp_path / made.stdout.splitlines()[-1]
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if ".." in name]
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(sdist)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    holds = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("noted/")}
    sources = {str(path.relative_to(PROJECT / "src")) for path in (PROJECT / "src/noted").rglob("*.py")}
    generated = {f"noted/v1/noted_pb2{end}" for end in (".py", ".pyi", "_grpc.py")}
    assert holds == sources | generated | {"noted/py.typed"}


def test_reading_needs_the_standard_library_only() -> None:
    program = "import noted.identify, noted.paypal, sys; print([m for m in sys.modules if m.split('.')[0] in ('grpc', 'google', 'cryptography')])"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_source_tree_finds_what_is_generated() -> None:
    program = "import sys; sys.path.insert(0, 'src'); import noted, noted.v1.noted_pb2 as pb; print(noted.__file__, pb.__file__)"
    out = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    assert "client/python/src/noted" in out and "gen/python/noted/v1" in out
