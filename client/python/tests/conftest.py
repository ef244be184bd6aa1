from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .places import ROOT


def _built(tmp_path_factory: pytest.TempPathFactory, package: str) -> Path:
    program = tmp_path_factory.mktemp("bin") / package.rsplit("/", 1)[-1]
    subprocess.run(["go", "build", "-o", str(program), package], cwd=ROOT, check=True)
    return program


@pytest.fixture(scope="session")
def notectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(tmp_path_factory, "./client/cmd/notectl")
