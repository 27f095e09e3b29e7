"""Long answers, sent in pieces: the unread part of an answer does not fill the connection's buffer."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from credit_service import bounds
from credit_service.http.problems import ProblemResponse


class LongAnswers:
    """Counts the long answers that are being sent, and refuses one too many."""

    def __init__(self) -> None:
        self._under_way = 0

    def answer(self, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
        """A response with all of `content`, which is not copied."""
        return _InPieces(self, content, media_type, headers)

    def begin(self) -> bool:
        """Counts one more answer; False if there are too many. Each answer that begins has to `end`."""
        if self._under_way >= bounds.CONCURRENT_LONG_ANSWERS_MAX:
            return False
        self._under_way += 1
        return True

    def end(self) -> None:
        """Counts one answer less."""
        self._under_way -= 1


class _InPieces(Response):
    """Sends a piece when the connection has room for it: `send` waits while too many bytes are unsent."""

    def __init__(
        self, answers: LongAnswers, content: bytes, media_type: str, headers: Mapping[str, str] | None
    ) -> None:
        self._answers = answers
        self._content = memoryview(content)
        super().__init__(media_type=media_type, headers={"Content-Length": str(len(content)), **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer, or 503 if too many are being sent."""
        if not self._answers.begin():
            busy = ProblemResponse(503, "too many requests at the same time", {"Retry-After": "1"})
            await busy(scope, receive, send)
            return
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            size = bounds.PIECE_BYTES_MAX
            for start in range(0, len(self._content), size):
                piece = bytes(self._content[start : start + size])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._answers.end()
