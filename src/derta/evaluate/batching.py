"""Requests for text become rows of a batch on one worker thread.

Callers on any thread hand in token ids and get a future. The worker waits until no request has
come for a moment, so that it knows them all, and lets those join that begin alike: what they share
is computed once. When rows have ended, others take their places while the rest goes on
(`derta.evaluate.decoding`): a step costs nearly the same with few rows as with many. Where a model
can't do that, batches hold similar lengths, longest first, and transformers' `generate` runs them.

Covered: any transformers causal language model, in memory; a batch may mix greedy, sampled and
steered requests (`derta.evaluate.choosing`). Not covered: several devices.

Shapes:  B rows, T tokens.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from derta.data.models import inner_model
from derta.errors import ModelError
from derta.evaluate.choosing import Chooser, Sampling, Steering, as_logits_processor
from derta.evaluate.decoding import (
    Generated,
    PrefillError,
    RunningBatch,
    reason_decoding_is_plain,
)
from derta.evaluate.prefix_store import KEPT_BYTES, PrefixStore
from derta.evaluate.requests import (
    Request,
    drop_cancelled,
    kind_of,
    order_of,
    plain_group,
    plain_order,
)

__all__ = ["BatchGenerator", "Generated"]

DEFAULT_BATCH_SIZE = 96
_CACHED_TOKENS = {"cpu": 32_768}
"""Tokens of a batch's cache at most, padding and room for new tokens included, by kind of device;
131,072 elsewhere. 96 rows of 2,000 tokens would take 9 GB with a model of 135M parameters."""
_JOIN_SHARE = 8
"""New rows wait until they are one for so many running ones: joining reads all weights once more,
and what prompts begin with is shared only by those that join together."""
_FEW_WAIT = 8
"""Steps after which fewer join, too, if they are all that wait."""
_MORE_COME = 3
"""Steps for which new rows wait for more that are still coming in."""
GATHER_SECONDS = 0.3
"""Requests that come less than this after one another are batched together."""
_GATHERS = 10
"""So many times as long the first of them waits at most."""


@contextlib.contextmanager
def _bare_generation_config(model: Any) -> Iterator[None]:
    """Take the model's own generation settings away for one call.

    `generate` fills what a given configuration leaves open from the model's: a repetition penalty
    that a model is shipped with would change what is called greedy here.
    """
    inner = inner_model(model)
    kept = getattr(inner, "generation_config", None)
    if kept is None:
        yield
        return
    inner.generation_config = GenerationConfig()
    try:
        yield
    finally:
        inner.generation_config = kept


class BatchGenerator:
    """Generation with one model, one thread and one queue."""

    def __init__(
        self,
        model: Any,
        *,
        end_ids: Sequence[int],
        pad_id: int,
        batch_size: int = DEFAULT_BATCH_SIZE,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """Make a generator; its thread starts with the first request.

        Args:
            model: anything with transformers' `generate`.
            end_ids: tokens that end a turn; those of the model's own configuration are added.
            pad_id: a token to pad with; it is masked.
            batch_size: B at most.
            gather_seconds: how long the queue must be quiet before the first batch.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but a batch has at least one row")
        self._model = model
        self._plain = reason_decoding_is_plain(model) is not None
        own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        own_ids = own if isinstance(own, (list, tuple)) else [] if own is None else [own]
        self._end_ids = frozenset(end_ids) | frozenset(own_ids)
        self._pad_id = pad_id
        self._batch_size = batch_size
        self._gather_seconds = gather_seconds
        device = getattr(getattr(model, "device", None), "type", "cpu")
        self._cached_tokens = _CACHED_TOKENS.get(device, 131_072)
        self._kept_bytes = KEPT_BYTES.get(device, 1 << 30)
        self._queue: queue.Queue[Request | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def submit(
        self,
        input_ids: Sequence[int],
        max_new_tokens: int,
        *,
        sampling: Sampling | None = None,
        steering: Steering | None = None,
    ) -> Future[Generated]:
        """Ask for a continuation; a model error surfaces as the future's exception.

        Args:
            input_ids: what is continued.
            max_new_tokens: at most so many.
            sampling: how tokens are drawn; None decodes greedily.
            steering: chooses the first tokens, if given.

        Raises:
            ModelError: the generator is closed, or the request is longer than the model reads.
        """
        limit = getattr(getattr(self._model, "config", None), "max_position_embeddings", None)
        if limit is not None and len(input_ids) + max_new_tokens > limit:
            raise ModelError(
                f"{len(input_ids)} tokens of prompt and {max_new_tokens} new ones are more than "
                f"the {limit} that the model reads. Shorten the prompt or lower max_tokens"
            )
        if not input_ids:
            raise ModelError("there is nothing to continue: the prompt has no tokens")
        if max_new_tokens < 1:
            raise ModelError(f"max_tokens is {max_new_tokens}; give a whole number, 1 or more")
        request = Request(tuple(input_ids), max_new_tokens, sampling, steering)
        with self._lock:
            if self._closed:
                raise ModelError("the generator is closed; make a new one")
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="derta-generate", daemon=True
                )
                self._thread.start()
            self._queue.put(request)
        return request.future

    def close(self) -> None:
        """End the thread after its current batch; requests still waiting are cancelled."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> BatchGenerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self) -> None:
        waiting: list[Request] = []
        try:
            (self._work_plainly if self._plain else self._work_continuously)(waiting)
        finally:
            # Whatever ended the thread: nobody waits for ever, and nobody asks any more.
            with self._lock:
                self._closed = True
            while not self._queue.empty():
                late = self._queue.get_nowait()
                if late is not None:
                    waiting.append(late)
            for request in waiting:
                request.give_up()

    def _work_continuously(self, waiting: list[Request]) -> None:
        """Decode until the generator is closed, and then what has begun."""
        batch = self._new_batch()
        running: dict[int, Request] = {}
        waited, is_open = 0, True
        while is_open or running:
            try:
                known = len(waiting)
                if is_open:
                    is_open = self._gather(waiting, wait=not running and not waiting)
                more_came = len(waiting) > known
                for request in waiting[known:]:
                    request.late = bool(running)
                drop_cancelled(waiting)
                waited = waited + 1 if waiting else 0
                joining: list[Request] = []
                if is_open and not (running and more_came and waited <= _MORE_COME):
                    joining = self._joining(waiting, running, waited)
                if joining:
                    waited = 0
                    running |= {id(request): request for request in joining}
                    waiting[:] = [each for each in waiting if id(each) not in running]
                if running:
                    with self._evaluation_mode():
                        self._advance(batch, running, joining)
            except BaseException as error:  # whatever it is, it belongs to the callers
                batch = self._new_batch()
                # Its frames hold the old batch's cache.
                traceback.clear_frames(error.__traceback__)
                for request in running.values():
                    request.fail(error)
                running = {}

    def _advance(
        self, batch: RunningBatch, running: dict[int, Request], joining: Sequence[Request]
    ) -> None:
        """Let requests join and leave, and add a token to all."""
        room = self._cached_tokens // max(request.tokens for request in running.values())
        most_rows = max(1, min(self._batch_size, room))
        try:
            if joining:
                batch.add([request.prompt() for request in joining], most_rows)
        except PrefillError as error:  # the others have nothing to do with it
            for request in joining:
                del running[id(request)]
                request.fail(error.__cause__ or error)
        for key, result in batch.step():
            running.pop(key).finish(result)
        gone = [key for key, request in running.items() if request.future.cancelled()]
        batch.remove(gone)
        for key in gone:
            running.pop(key).give_up()

    def _new_batch(self) -> RunningBatch:
        store = PrefixStore(self._kept_bytes)
        return RunningBatch(self._model, self._end_ids, most_rows=self._batch_size, store=store)

    def _joining(
        self, waiting: list[Request], running: Mapping[int, Request], waited: int
    ) -> list[Request]:
        """Choose who joins: alike in length with those who run, neighbours in what they begin with.

        Args:
            waiting: is put in order.
            running: who runs.
            waited: steps since somebody waits.
        """
        if not waiting:
            return []
        waiting.sort(key=order_of, reverse=True)
        kind = kind_of(next(iter(running.values()), waiting[0]))
        alike = [request for request in waiting if kind_of(request) == kind]
        longest = max((request.tokens for request in running.values()), default=0)
        joining = self._fitting(alike, len(running), longest)
        if len(joining) * _JOIN_SHARE >= len(running):
            return joining
        return joining if len(joining) == len(alike) and waited >= _FEW_WAIT else []

    def _work_plainly(self, waiting: list[Request]) -> None:
        """Call `generate` until the generator is closed."""
        while self._gather(waiting, wait=not waiting):
            batch = self._next_batch(waiting)
            chosen = {id(request) for request in batch}
            waiting[:] = [request for request in waiting if id(request) not in chosen]
            # A request that its caller gave up must not cost a row.
            drop_cancelled(batch)
            if not batch:
                continue
            try:
                with self._evaluation_mode():
                    results = self._generate_plainly(batch)
            except BaseException as error:  # whatever it is, it belongs to the waiting callers
                for request in batch:
                    request.fail(error)
            else:
                for request, result in zip(batch, results, strict=True):
                    request.finish(result)

    def _next_batch(self, waiting: list[Request]) -> list[Request]:
        """Choose what fits together for `generate`: alike in length and in limit."""
        waiting.sort(key=plain_order, reverse=True)
        first = waiting[0]
        # The limit on new tokens is one number for a batch.
        same = [r for r in waiting if plain_group(r) == plain_group(first)]
        return self._fitting(same)

    def _fitting(
        self, requests: Sequence[Request], rows: int = 0, longest: int = 0
    ) -> list[Request]:
        """Take requests from the front while rows and cached tokens last; the first always fits.

        Args:
            requests: in order.
            rows: that are there already.
            longest: tokens of the longest of those.
        """
        chosen: list[Request] = []
        for request in requests[: max(0, self._batch_size - rows)]:
            taken = rows + len(chosen)
            longest = max(longest, request.tokens)
            if taken and longest * (taken + 1) > self._cached_tokens:
                break
            chosen.append(request)
        return chosen

    def _gather(self, waiting: list[Request], *, wait: bool) -> bool:
        """Move requests from the queue to `waiting`; False when the generator is closed.

        Args:
            waiting: is added to.
            wait: for the first one, and then until no more come; if not, those that are there.
        """
        limit: float | None = None
        until = float("inf")
        while True:
            wait = wait and time.monotonic() < until
            try:
                request = self._queue.get(timeout=limit) if wait else self._queue.get_nowait()
            except queue.Empty:
                return True
            if request is None:
                return False
            waiting.append(request)
            if limit is None:
                limit = self._gather_seconds
                until = time.monotonic() + _GATHERS * limit

    @contextlib.contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        if not self._model.training:
            yield
            return
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()

    def _generate_plainly(self, batch: list[Request]) -> list[Generated]:
        chooser = Chooser(self._end_ids)
        for request in batch:
            chooser.add(request.input_ids, request.sampling, request.steering)
        length = max(len(request.input_ids) for request in batch)
        input_ids = torch.full((len(batch), length), self._pad_id, dtype=torch.long)  # (B, T)
        attention_mask = torch.zeros_like(input_ids)
        for row, request in enumerate(batch):
            # Padding on the left: the last column is every row's last token.
            input_ids[row, length - len(request.input_ids) :] = torch.tensor(request.input_ids)
            attention_mask[row, length - len(request.input_ids) :] = 1
        device = self._model.device
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=batch[0].max_new_tokens,
            pad_token_id=self._pad_id,
            eos_token_id=sorted(self._end_ids),
            use_cache=True,
        )
        # Without one, greedy decoding is transformers' own.
        processors = [] if chooser.is_greedy else [as_logits_processor(chooser)]
        with torch.inference_mode(), _bare_generation_config(self._model):
            output = self._model.generate(
                input_ids=input_ids.to(device),
                attention_mask=attention_mask.to(device),
                generation_config=config,
                logits_processor=LogitsProcessorList(processors),
            )
        rows = output[:, length:].tolist()
        return [self._cut(ids, chooser.steered(row)) for row, ids in enumerate(rows)]

    def _cut(self, ids: list[int], steered: tuple[int, int, int]) -> Generated:
        for index, token in enumerate(ids):
            if token in self._end_ids:
                return Generated(tuple(ids[:index]), True, *steered)
        return Generated(tuple(ids), False, *steered)
