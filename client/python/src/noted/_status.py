"""From what gRPC raises to the errors of this package.

The details of a status are read here by hand, thirty lines, because the package that has their
classes (grpcio-status) pins protobuf more tightly than this library does, and a receiver must run
on what its machine has.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Dict, Iterator, Optional, Tuple, Type, Union

import grpc

from .errors import REASONS, DeadlineExceeded, Error, InvalidRequest, Unavailable, Violation

_DOMAIN = "noted.v1"  # a reason of another domain is not ours to read
_CODES: Dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def failure(act: str, error: grpc.RpcError) -> Error:
    """The error of a call that failed while doing act."""
    code, message = error.code(), error.details() or ""
    reason, retry_after, violations = "", None, []
    for kind, value in _details(error):
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
            continue  # a detail that cannot be read takes nothing from the rest
    return make(act, message, code, reason, retry_after, tuple(violations))


def failed(act: str, code: int, message: str, reason: str) -> Error:
    """The error of one answer of a stream, which carries its reason beside the code and not in
    details.
    """
    return make(act, message, _CODES.get(code, grpc.StatusCode.UNKNOWN), reason)


def make(
    act: str,
    message: str,
    code: grpc.StatusCode,
    reason: str = "",
    retry_after: Optional[timedelta] = None,
    violations: Tuple[Violation, ...] = (),
) -> Error:
    # The codes that say enough without a reason, such as those of a proxy between.
    by_code: Dict[grpc.StatusCode, Type[Error]] = {
        grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
        grpc.StatusCode.UNAVAILABLE: Unavailable,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    }
    kind = REASONS.get(reason) or by_code.get(code, Error)
    return kind(act, message, code, reason, retry_after, violations)


def _details(error: grpc.RpcError) -> Iterator[Tuple[str, bytes]]:
    """The details of a google.rpc.Status, as the name of each message and its bytes."""
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
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
    """The fields of a protobuf message, by number; varints and bytes, which is all that these
    messages have.
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
            raise ValueError("a field of a kind that is not expected")


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
        raise ValueError("a number where bytes belong")
    return content


def _text(content: _Content) -> str:
    return _bytes(content).decode("utf-8", "replace")
