"""The structure of the library: a core without I/O, two thin halves with the same names, no use
of other modules' private names, no import cycles.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

import grpc

from noted.core.status import CODES

from .places import PROJECT

SRC = PROJECT / "src"

# The modules that the core must not import, with their submodules: those that do I/O, wait,
# start a thread or a process, or read the clock. Allowed are contextlib, random, secrets and
# logging, whose handlers belong to the application.
FORBIDDEN = set(
    "asyncio builtins concurrent fcntl ftplib glob grpc http importlib io mmap multiprocessing os pathlib queue "
    "sched select selectors shutil signal smtplib socket socketserver sqlite3 ssl subprocess sys tempfile threading "
    "time _thread urllib.request urllib3".split()
)

# Functions that do I/O without an import, or read the clock through a type that the core uses.
FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "now", "today", "utcnow"}

# The one exception: Error.code returns gRPC's enum, and imports it at its first use.
ALLOWED = {("noted.errors", "grpc")}

# The modules of noted that both halves use.
SHARED = {"__init__", "errors", "fetch", "identify", "testing", "transport", "types"}
SHARED_FOLDERS = {"core", "paypal", "v1"}


class Import(NamedTuple):
    module: str  # the module of the import
    names: Tuple[str, ...]  # the imported names that are not modules
    typing: bool  # under TYPE_CHECKING


def files() -> Dict[str, Path]:
    """The hand-written modules by name."""
    found = {}
    for path in (SRC / "noted").rglob("*.py"):
        parts = path.relative_to(SRC).with_suffix("").parts
        if "v1" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    assert len(found) > 30
    return found


FILES = files()
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def exists(module: str) -> bool:
    path = SRC / module.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def under_typing(tree: ast.AST) -> Set[ast.AST]:
    """The nodes under TYPE_CHECKING."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imports(module: str) -> Iterator[Import]:
    """Every import of a module, also inside functions."""
    tree, package = TREES[module], module.split(".")
    if FILES[module].name != "__init__.py":
        package = package[:-1]
    typing = under_typing(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node in typing)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module or "") if part)
            names = [alias.name for alias in node.names]
            for name in [name for name in names if exists(f"{source}.{name}")]:
                names.remove(name)
                yield Import(f"{source}.{name}", (), node in typing)
            if names:
                yield Import(source, tuple(names), node in typing)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")


def test_no_module_uses_private_names_of_another() -> None:
    """Neither imports nor attributes, except attributes of self."""
    found: List[str] = []
    for module, tree in TREES.items():
        for imported in imports(module):
            if not imported.module.startswith("noted"):
                continue
            names = [*imported.module.split("."), *imported.names]
            found += [f"{module} imports {name}" for name in names if private(name)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr):
                if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                    found.append(f"{module}:{node.lineno} reaches for {node.attr}")
    assert found == []


def test_no_two_modules_import_each_other() -> None:
    """Neither directly nor through other modules, nor for types only."""
    edges = {module: {i.module for i in imports(module) if i.module in FILES} for module in FILES}
    done: Set[str] = set()

    def walk(module: str, path: Tuple[str, ...]) -> None:
        assert module not in path, " imports ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in edges[module]:
                walk(other, (*path, module))
            done.add(module)

    for module in FILES:
        walk(module, ())
    assert sum(map(len, edges.values())) > 50


def core() -> List[str]:
    return [name for name in FILES if re.fullmatch(r"noted\.(core|paypal)(\..+)?|noted\.(errors|types)", name)]


def test_the_core_does_no_io() -> None:
    assert len(core()) > 20
    found: List[str] = []
    for module in core():
        for imported in imports(module):
            parts = imported.module.split(".")
            if imported.typing or (module, imported.module) in ALLOWED:
                continue
            if any(".".join(parts[:n]) in FORBIDDEN for n in range(1, len(parts) + 1)):
                found.append(f"{module} imports {imported.module}")
            if parts[0] == "noted" and imported.module not in core() and imported.module != "noted.v1.noted_pb2":
                found.append(f"{module} imports {imported.module}, which is not of the core")
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                own = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "self"
                if called in FORBIDDEN_CALLS and not own:
                    found.append(f"{module}:{node.lineno} calls {called}")
    assert found == []


def test_the_core_runs_without_grpc() -> None:
    program = f"import {', '.join(core())}, sys; print([m for m in ('grpc', 'asyncio', 'ssl') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "[]\n", ran.stderr


def half(folder: Path) -> Dict[str, Path]:
    """The files of a half, by their path in it."""
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        if parts[0] not in SHARED_FOLDERS | {"aio"} and (len(parts) > 1 or parts[0] not in SHARED):
            found["/".join(parts)] = path
    return found


def public(path: Path) -> Set[str]:
    """The public names of a file, and those of its classes."""
    names: Set[str] = set()

    def take(body: List[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                take(node.body, f"{node.name}.")
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names.update(prefix + target.id for target in targets if isinstance(target, ast.Name))
                if "__all__" in [getattr(target, "id", "") for target in targets] and node.value is not None:
                    names.update(ast.literal_eval(node.value))

    take(ast.parse(path.read_text()).body, "")
    return {name for name in names if not any(part.startswith("_") for part in name.split("."))}


def test_the_halves_mirror_each_other() -> None:
    blocking, asyncio = half(SRC / "noted"), half(SRC / "noted" / "aio")
    assert set(blocking) == set(asyncio) and len(blocking) >= 10
    for name in blocking:
        assert public(blocking[name]) == public(asyncio[name]) != set(), name


def test_the_halves_do_not_import_each_other() -> None:
    for module in FILES:
        if not module.startswith("noted.aio"):
            assert not [i.module for i in imports(module) if i.module.startswith("noted.aio")], module
        else:
            theirs = {"noted." + name.replace("/", ".") for name in half(SRC / "noted")}
            assert not [i.module for i in imports(module) if i.module in theirs], module


def test_the_names_of_the_codes() -> None:
    assert CODES == tuple(code.name for code in sorted(grpc.StatusCode, key=lambda code: code.value[0]))
