"""What the service counts, as Prometheus reads it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from raysys.serving.refusals import Refused

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LEFT = 499
"""Status of a request whose client has left; nobody reads it."""
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one process; its own registry, so that Ray's are not among them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "raysys_requests", "Predictions asked for, by status of the response.", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "raysys_request_seconds",
            "Time from the request's headers to its response.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch = Histogram(
            "raysys_batch_size",
            "Requests in the batch that each answered request was part of.",
            buckets=_SIZES,
            registry=self._registry,
        )
        self._audio = Counter("raysys_audio_seconds", "Audio of answered requests.", registry=self._registry)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count what happens within as one request, whether it is answered or refused."""
        started, status = time.perf_counter(), _LEFT
        try:
            yield
            status = 200
        except Refused as refused:
            status = refused.status
            raise
        except Exception:
            status = 500
            raise
        finally:
            self._requests.labels(str(status)).inc()
            self._seconds.observe(time.perf_counter() - started)

    def predicted(self, *, batch: int, audio_s: float) -> None:
        self._batch.observe(batch)
        self._audio.inc(audio_s)

    def text(self) -> bytes:
        return generate_latest(self._registry)
