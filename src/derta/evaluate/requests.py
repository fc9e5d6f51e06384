"""Requests for text: what is asked, who waits for it, and which of them go well together.

Not covered: the thread that serves them (`derta.evaluate.batching`).
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from derta.evaluate.choosing import Sampling, Steering
from derta.evaluate.decoding import Generated, Prompt

__all__ = ["Request", "drop_cancelled", "kind_of", "order_of", "plain_group", "plain_order"]

_SHORT = 192
"""Prompts up to this length may share a call of `generate`; above it, those within a factor of two.
"""
_SHORT_ROW = 256
"""The same of prompts with their room for new tokens where rows join and leave. 512 columns of
padding cost a row about as much as its share of the matrix products (measured: 135M parameters)."""


@dataclass(slots=True)
class Request:
    """What one caller asks for. It may be given up at any moment before it is finished."""

    input_ids: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling | None
    steering: Steering | None
    late: bool = False
    """It came while others ran."""
    future: Future[Generated] = field(default_factory=Future)

    @property
    def tokens(self) -> int:
        """Tokens that it takes at most, new ones included."""
        return len(self.input_ids) + self.max_new_tokens

    def prompt(self) -> Prompt:
        """Make the row of a batch, known by this object's id."""
        return Prompt(id(self), self.input_ids, self.max_new_tokens, self.sampling, self.steering)

    def finish(self, result: Generated) -> None:
        """Hand over the result."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)

    def give_up(self) -> None:
        """Tell whoever still waits that there will be no result."""
        if self.future.cancel():
            self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """Hand over an error."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


def drop_cancelled(requests: list[Request]) -> None:
    """Leave out what its callers gave up."""
    for request in requests:
        if request.future.cancelled():
            request.give_up()
    requests[:] = [request for request in requests if not request.future.cancelled()]


def kind_of(request: Request) -> int:
    """Say which requests may run side by side: padding to the longest is not free."""
    return ((request.tokens - 1) // _SHORT_ROW).bit_length()


def order_of(request: Request) -> tuple[int, bool, tuple[int, ...]]:
    """Sort by what makes good neighbours: length, then what prompts begin with.

    What came late is mostly the next turn of a conversation, with others to follow: if those came
    last, they would run one after the other in an empty batch.
    """
    return kind_of(request), request.late, request.input_ids


def plain_group(request: Request) -> tuple[int, int]:
    """Say which requests may share a call of `generate`: it has one limit on new tokens."""
    return request.max_new_tokens, (len(request.input_ids) // _SHORT).bit_length()


def plain_order(request: Request) -> tuple[int, int, int]:
    """Sort for `generate`: by group, then by length."""
    return *plain_group(request), len(request.input_ids)
