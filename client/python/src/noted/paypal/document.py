"""The JSON object of a webhook, in which numbers keep their spelling."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, NoReturn, Tuple

from .result import MalformedError

# How deep arrays and objects may nest. PayPal stays below ten; without a bound a few
# megabytes of [ exhaust the stack of a parser that recurses.
_MAX_DEPTH = 64

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NOT_JSON = "is no JSON object; pass the body of PayPal's POST unchanged"


class Document:
    """A body that is read. The names of fields are paths such as resource.links.0.href."""

    def __init__(self, body: bytes) -> None:
        """Bytes above ASCII become 0x7f first: languages disagree about bad UTF-8, some refuse
        the whole body, and nothing that is read needs it. 0x7f
        is legal in a JSON string and illegal in an id."""
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
        """What stands at a path, None for what is absent or null, and a problem where the path
        leads through something that has no such parts.
        """
        value: Any = self._root
        for part in path.split("."):
            if value is None:
                return None, ""
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list):
                if not part.isdigit() or int(part) >= len(value):
                    return None, "lies in an array where an object belongs"
                value = value[int(part)]
            else:
                return None, "lies in something that is no object"
        return value, ""

    def lookup(self, path: str) -> Tuple[str, str]:
        """The text at a path, one character a byte of its UTF-8; a number is the text it is
        written with.
        """
        value, problem = self._find(path)
        if value is None:
            return "", problem
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass").decode("latin-1"), ""
        return "", "is neither a string nor a number"

    def length(self, path: str) -> Tuple[int, str]:
        """How many elements the array at a path has, none if it is absent, and a problem if
        something else stands there.
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
    """How deep brackets outside strings nest. It need not be right about what is no JSON."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest
