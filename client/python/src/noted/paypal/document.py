"""The JSON object of a webhook. Its numbers keep their spelling."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, NoReturn, Tuple

from .result import MalformedError

# The most levels of arrays and objects. PayPal stays below ten. Without a bound, a few
# megabytes of [ exhaust the stack of a recursive parser.
_MAX_DEPTH = 64

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NOT_JSON = "is no JSON object; pass the body of PayPal's POST unchanged"


class Document:
    """A parsed body. The names of fields are paths, such as resource.links.0.href."""

    def __init__(self, body: bytes) -> None:
        """Replaces bytes above ASCII by 0x7f first. Languages disagree about bad UTF-8, and
        some refuse the whole body. No field that is read needs these bytes. 0x7f is legal
        in a JSON string and illegal in an id.
        """
        if body.startswith(b"\xef\xbb\xbf"):
            body = body[3:]
        body = _NOT_ASCII.sub(b"\x7f", body)
        if _depth(body) > _MAX_DEPTH:
            raise MalformedError("body", "nests deeper than 64 levels; this is no event of PayPal's")
        try:
            root = json.loads(body.decode("ascii"), parse_int=str, parse_float=str, parse_constant=_refuse)
        except ValueError as error:
            raise MalformedError("body", f"{_NOT_JSON}: {error}") from error
        if not isinstance(root, dict):
            raise MalformedError("body", _NOT_JSON)
        self._root: Dict[str, Any] = root

    def _find(self, path: str) -> Tuple[Any, str]:
        """The value at a path. None if it is absent or null. The second value is the
        problem if the path leads through a value without such parts.
        """
        value: Any = self._root
        for part in path.split("."):
            if value is None:
                return None, ""
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list):
                if not part.isdigit() or int(part) >= len(value):
                    return None, "is in an array where an object belongs"
                value = value[int(part)]
            else:
                return None, "is in a value that is not an object"
        return value, ""

    def lookup(self, path: str) -> Tuple[str, str]:
        """The text at a path, with one character for each byte of its UTF-8. A number is
        its spelling.
        """
        value, problem = self._find(path)
        if value is None:
            return "", problem
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass").decode("latin-1"), ""
        return "", "is neither a string nor a number"

    def length(self, path: str) -> Tuple[int, str]:
        """The length of the array at a path, 0 if it is absent. The second value is the
        problem if the value is no array.
        """
        value, problem = self._find(path)
        if value is None:
            return 0, problem
        if isinstance(value, list):
            return len(value), ""
        return 0, "is no array"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _depth(body: bytes) -> int:
    """The depth of the brackets outside strings. It may be wrong about a body that is not
    JSON.
    """
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
