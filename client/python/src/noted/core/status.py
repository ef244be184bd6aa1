"""From a gRPC failure to an error of this package.

Thirty lines here parse the details of a status. The package grpcio-status has classes for
them, but it pins protobuf more tightly than this library does, and a receiver must run with
the protobuf of its machine.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Dict, Iterator, Optional, Tuple, Type, Union

from ..errors import REASONS, DeadlineExceeded, Error, InvalidRequest, Unavailable, Violation

_DOMAIN = "noted.v1"  # reasons of other domains are ignored

# The names of gRPC's status codes, by number. A test compares them with grpc.StatusCode.
CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

# Codes that need no reason, such as a proxy's.
_BY_CODE: Dict[str, Type[Error]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}


def failure(act: str, raised: Any) -> Error:
    """The error of a call that raised a grpc.RpcError, which becomes its __cause__. An
    Error is returned as it is.
    """
    if isinstance(raised, Error):
        return raised
    code, message = raised.code(), raised.details() or ""
    reason, retry_after, violations = "", None, []
    for kind, value in _details(raised):
        try:
            if kind == "google.rpc.ErrorInfo":
                info = {number: content for number, content in _fields(value)}
                if info.get(2, b"") == _DOMAIN.encode():
                    reason = _text(info.get(1, b""))
            elif kind == "google.rpc.RetryInfo":
                delay = {number: content for number, content in _fields(_bytes(dict(_fields(value)).get(1, b"")))}
                retry_after = timedelta(seconds=int(delay.get(1, 0)), microseconds=int(delay.get(2, 0)) / 1000)
            elif kind == "google.rpc.BadRequest":
                for _, content in _fields(value):
                    violation = dict(_fields(_bytes(content)))
                    violations.append(Violation(_text(violation.get(1, b"")), _text(violation.get(2, b""))))
        except (ValueError, IndexError, OverflowError):
            continue  # the other details are still of use
    error = make(act, message, code.name if code else "", reason, retry_after, tuple(violations))
    error.__cause__ = raised
    return error


def failed(act: str, code: int, message: str, reason: str) -> Error:
    """The error of one answer on a stream, which has its reason in a field and not in
    details.
    """
    return make(act, message, CODES[code] if 0 <= code < len(CODES) else "UNKNOWN", reason)


def make(
    act: str,
    message: str,
    code: str,
    reason: str = "",
    retry_after: Optional[timedelta] = None,
    violations: Tuple[Violation, ...] = (),
) -> Error:
    kind = REASONS.get(reason) or _BY_CODE.get(code, Error)
    return kind(act, message, code, reason, retry_after, violations)


def _details(error: Any) -> Iterator[Tuple[str, bytes]]:
    """The details of a google.rpc.Status: the name of each message, and its bytes."""
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        try:
            for number, content in _fields(value if isinstance(value, bytes) else value.encode()):
                if number == 3:
                    detail = dict(_fields(_bytes(content)))
                    yield _text(detail.get(1, b"")).rpartition("/")[2], _bytes(detail.get(2, b""))
        except (ValueError, IndexError):
            return


_Content = Union[int, bytes]


def _fields(message: bytes) -> Iterator[Tuple[int, _Content]]:
    """The fields of a protobuf message by number. These messages hold only varints and
    bytes.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        content, at = _varint(message, at)
        if key & 7 == 0:
            yield key >> 3, content
        elif key & 7 == 2:
            if at + content > len(message):
                raise ValueError("a field is longer than its message")
            yield key >> 3, message[at : at + content]
            at += content
        else:
            raise ValueError("a field of an unexpected wire type")


def _varint(message: bytes, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _bytes(content: _Content) -> bytes:
    if not isinstance(content, bytes):
        raise ValueError("a number instead of bytes")
    return content


def _text(content: _Content) -> str:
    return _bytes(content).decode("utf-8", "replace")
