"""The package as its users install it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Iterator, List

import noted

from .places import PROJECT, ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def test_the_sdist_makes_a_whole_wheel(tmp_path: Path) -> None:
    """A wheel that is built from the sdist, outside the repository, has noted.v1 and every
    module. It installs and runs.
    """
    # A copy of the checkout, so that the build leaves no files in this one.
    leave = shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__")
    project = tmp_path / "client/python"
    shutil.copytree(PROJECT, project, ignore=leave)
    make = "import setuptools.build_meta as b; print(b.build_sdist({!r}))".format(str(tmp_path))
    made = subprocess.run([sys.executable, "-c", make], cwd=project, check=True, capture_output=True, text=True)
    sdist = tmp_path / made.stdout.splitlines()[-1]
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert not [name for name in names if ".." in name]
    for text in ("LICENSE", "README.md", "CHANGELOG.md"):
        assert [name for name in names if name.count("/") == 1 and name.endswith(f"/{text}")], text
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(sdist)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    holds = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("noted/")}
    sources = {str(path.relative_to(PROJECT / "src")) for path in (PROJECT / "src/noted").rglob("*.py")}
    assert {f"noted/v1/noted_pb2{end}" for end in (".py", "_grpc.py")} < sources
    assert holds == sources | {"noted/v1/noted_pb2.pyi", "noted/py.typed"}
    site = tmp_path / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    ran = subprocess.run(
        [sys.executable, "-c", "import noted.aio, noted.receiver, noted.testing; print(noted.__file__, noted.Client)"],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == f"{site}/noted/__init__.py <class 'noted.client.Client'>\n", ran.stderr


def test_what_the_package_says_of_itself() -> None:
    """Version and licence are the same in both places, and the README has no relative links."""
    told = metadata.metadata("donation-dedupe-noted")
    assert noted.__version__ == told["Version"] == metadata.version("donation-dedupe-noted")
    assert told["License-Expression"] == "Apache-2.0" and "Typing :: Typed" in told.get_all("Classifier", [])
    assert {url.partition(",")[0] for url in told.get_all("Project-URL", [])} >= {"Homepage", "Source", "Changelog"}
    assert f"\n## {noted.__version__} " in (PROJECT / "CHANGELOG.md").read_text()
    assert told["Author"] == "The authors of Noted"
    assert (PROJECT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    source = next(url for url in told.get_all("Project-URL", []) if url.startswith("Source, ")).partition(", ")[2]
    git = f"'donation-dedupe-noted[receiver] @ git+{source}#subdirectory=client/python'"
    assert git in (PROJECT / "README.md").read_text()
    links = re.findall(r"\]\(([^)]*)\)", (PROJECT / "README.md").read_text())
    assert links and all(link.startswith("https://") for link in links)
    mine = [link.partition("/blob/main/")[2] for link in links if "/blob/main/" in link]
    assert mine and all((ROOT / path).exists() for path in mine)


def test_dir_shows_what_is_imported_later() -> None:
    program = "import noted; print({'Client', 'Turn', 'new_request_id', 'Donation', '__version__'} - set(dir(noted)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


def test_reading_needs_the_standard_library_only() -> None:
    program = "import noted.identify, noted.paypal, sys; print([m for m in sys.modules if m.split('.')[0] in ('grpc', 'google', 'cryptography')])"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_no_text_sends_anyone_to_an_index_for_this_library() -> None:
    """The name is free on the index. A stranger who takes it could run code inside receivers
    of payments.
    """
    command = re.compile(r"\b(?:pip3?|pipx|uv|poetry)[ \t]+(?:pip[ \t]+)?(?:install|add)\b([^\n]*)")
    sent: List[str] = []
    for path in _texts():
        for line in command.finditer(path.read_text(errors="replace")):
            sent += [f"{path}: {line[0]}" for word in line[1].split() if re.match(r"['\"`]?noted(?![\w.])", word)]
    assert sent == []


def _texts() -> Iterator[Path]:
    """Every text of the repository, except installed and built files."""
    kinds = (".md", ".py", ".toml", ".sh", ".go", ".php", ".ts", ".js", ".json", ".txt", ".yaml")
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if not name.startswith(".") and name not in ("node_modules", "build")]
        yield from (Path(folder, name) for name in names if name.endswith(kinds))


def test_without_cryptography_the_receiver_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None; import noted, noted.receiver; "
        "noted.receiver.Receiver(noted.Client('127.0.0.1:1'), None, None, webhook_id='WH')"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ImportError: verifying webhooks needs the package cryptography, 42 or later" in ran.stderr
    assert "checkout" in ran.stderr and "./client/python[receiver]" in ran.stderr and "install noted" not in ran.stderr


def test_the_source_tree_finds_what_is_generated() -> None:
    program = "import sys; sys.path.insert(0, 'src'); import noted, noted.v1.noted_pb2 as pb; print(noted.__file__, pb.__file__)"
    out = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, check=True, capture_output=True, text=True
    ).stdout
    assert "client/python/src/noted/__init__.py" in out and "client/python/src/noted/v1" in out


def test_the_oldest_protobuf_in_use_imports_what_is_generated(tmp_path: Path) -> None:
    """noted.v1 must import with Debian 12's protobuf. The code of a newer protoc would not."""
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(tmp_path), "protobuf==4.21.12"], check=True)
    generated = PROJECT / "src"
    # The environment has an installed package noted. This test is about the source.
    program = (
        "import sys, types; noted = types.ModuleType('noted'); noted.__path__ = [sys.argv[1] + '/noted']; sys.modules['noted'] = noted; "
        "sys.path[:0] = sys.argv[2:]; import google.protobuf, noted.v1.noted_pb2 as pb, noted.v1.noted_pb2_grpc as stubs; "
        "request = pb.NoteDonationRequest(donation=pb.Donation(series_id='I-1', event=pb.EVENT_REFUND)); "
        "same = pb.NoteDonationRequest.FromString(request.SerializeToString()) == request; "
        "print(google.protobuf.__version__, same, stubs.DedupeServiceStub.__name__, pb.__file__)"
    )
    packages = [path for path in sys.path if path.endswith("site-packages")]
    out = subprocess.run(
        [sys.executable, "-S", "-c", program, str(generated), str(tmp_path), *packages],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert out == f"4.21.12 True DedupeServiceStub {generated / 'noted/v1/noted_pb2.py'}\n"
