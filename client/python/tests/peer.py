"""A gRPC proxy before the real server. It changes the answers, as a broken proxy or a forked
process does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator, List, Sequence, Tuple

import grpc

from noted.v1 import noted_pb2 as pb
from noted.v1.noted_pb2_grpc import DedupeServiceStub, add_DedupeServiceServicer_to_server


class Trouble(Exception):
    """A failure with a code and a reason of the contract."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason

    def metadata(self) -> Sequence[Tuple[str, bytes]]:
        """A google.rpc.Status with an ErrorInfo, encoded by hand, because the library decodes
        it by hand.
        """
        info = _field(1, self.reason) + _field(2, "noted.v1")
        detail = _field(1, "type.googleapis.com/google.rpc.ErrorInfo") + _field(2, info)
        status = bytes([1 << 3, self.code.value[0]]) + _field(2, self.reason) + _field(3, detail)
        return [("grpc-status-details-bin", status)]


def _field(number: int, content: "str | bytes") -> bytes:
    content = content if isinstance(content, bytes) else content.encode()
    assert len(content) < 128, "the length needs more than one byte"
    return bytes([number << 3 | 2, len(content)]) + content


def nothing(rpc: str, request: Any, answer: Any) -> None:
    pass


class Peer:
    """Asks the real server, then calls change with the RPC's name, the request and the
    answer. change may alter the answer or raise Trouble.
    """

    def __init__(self, target: str) -> None:
        self.change: Callable[[str, Any, Any], object] = nothing
        self.left: List[float] = []  # the seconds that each request had left when it arrived
        self._channel = grpc.insecure_channel(target)
        self._stub: Any = DedupeServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._server = grpc.server(ThreadPoolExecutor(32))
        add_DedupeServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.address = "127.0.0.1:%d" % self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def __getattr__(self, rpc: str) -> Any:
        """The handler of an RPC, by its name in the contract."""
        if rpc == "NoteDonations":
            return self._stream
        return lambda request, context: self._answer(rpc, rpc, request, context)

    def _stream(self, requests: Iterator[pb.NoteDonationsRequest], context: Any) -> Iterator[pb.NoteDonationsResponse]:
        for request in requests:
            answer = self._answer("NoteDonations", "NoteDonation", request.request, context)
            yield pb.NoteDonationsResponse(response=answer)

    def _answer(self, name: str, rpc: str, request: Any, context: Any) -> Any:
        self.left.append(context.time_remaining())
        try:
            answer = getattr(self._stub, rpc)(request)
            self.change(name, request, answer)
        except Trouble as trouble:
            context.set_trailing_metadata(trouble.metadata())
            context.abort(trouble.code, trouble.reason)
        except grpc.RpcError as error:
            context.set_trailing_metadata(error.trailing_metadata())
            context.abort(error.code(), error.details())
        return answer
