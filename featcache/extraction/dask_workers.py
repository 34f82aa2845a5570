"""A Dask cluster, or one made on this machine: the same plan, cut into portions. Needs the extra ``dask``.

Dask does what it is good at: it hands portions out, does those of a dead worker elsewhere, and moves bytes. Each worker
builds the network once, and writes shards into the store's folder where it sees it, or sends them back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .. import version
from ..data import decoding
from ..errors import StoreError, UsageError
from .workers import Portion, PortionResult, compute

_log = logging.getLogger(__name__)
_PATIENCE = 10  # seconds for a scheduler, and for its first worker, to answer


class DaskWorkers:
    """Workers of a Dask cluster; use it in a ``with``.

    Parameters
    ----------
    address : ``tcp://HOST:PORT`` (or ``tls://``) of a scheduler, or ``local[:N]`` for N processes of this machine.
    cache : folder of the store, which workers must see at the same place unless they send shards back.
    send_back : have workers send the shards' bytes.

    Raises
    ------
    UsageError
        Dask is not installed, nobody answers, or a worker lacks the package, has another version, or does not see what
        it should.
    """

    def __init__(self, address: str, cache: Path, send_back: bool = False) -> None:
        self.shared = not send_back
        self._cache = cache
        self._stack = contextlib.ExitStack()
        local = re.fullmatch(r"local(?::(\d+))?", address)
        if not local and not re.match(r"[a-z]+://", address):
            raise UsageError(f"--scheduler {address!r}: expected tcp://HOST:PORT, or local[:PROCESSES]")
        try:
            import distributed as dask
        except ImportError as error:
            raise UsageError("--scheduler needs Dask; run: pip install 'featcache[dask]'") from error
        self._dask = dask
        try:
            self._client = self._connect(address, local)
            self._greet()
        except BaseException:
            self._stack.close()
            raise

    def _connect(self, address: str, local: re.Match[str] | None) -> Any:
        if local:
            count = int(local[1] or os.cpu_count() or 1)
            if not 1 <= count <= 1024:
                raise UsageError(f"--scheduler {address!r}: expected 1 to 1024 processes")
            # No dashboard: it would be one more port to be in somebody's way.
            cluster = self._dask.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                host="127.0.0.1",
                memory_limit=0,
                silence_logs=logging.ERROR,
            )
            self._stack.enter_context(cluster)
            return self._stack.enter_context(self._dask.Client(cluster))
        self._knock(address)
        try:
            client = self._stack.enter_context(self._dask.Client(address, timeout=_PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            at_all = "has no worker" if "worker" in str(error) else "does not answer"
            raise UsageError(
                f"--scheduler {address}: {at_all} ({error}); is it running, and may this machine reach it?"
            ) from error
        return client

    def _knock(self, address: str) -> None:
        """Shake hands once.

        Whatever else may listen there (a web server, the dashboard's port), a client would wait for it well beyond its
        own time limit, and for as long again when it is given up.
        """

        async def shake() -> None:
            options = self._dask.Security().get_connection_args("client")
            comm = await asyncio.wait_for(self._dask.comm.connect(address, timeout=_PATIENCE, **options), _PATIENCE)
            await comm.close()

        try:
            with ThreadPoolExecutor(1) as aside:  # a notebook has a loop running in this thread
                aside.submit(lambda: asyncio.run(shake())).result()
        except Exception as error:  # of a stranger's answer, Dask makes errors of any kind
            waited = isinstance(error, OSError | TimeoutError)
            what = "does not answer" if waited else "is no Dask scheduler"
            raise UsageError(
                f"--scheduler {address}: {what} ({str(error) or type(error).__name__}); is it running, is this its "
                "port (8786 as a rule), and may this machine reach it?"
            ) from error

    def _greet(self) -> None:
        """Ask every worker for what it must have, before anything is computed."""
        token = self._cache / f".seen-{uuid.uuid4().hex}"
        if self.shared:
            try:
                self._cache.mkdir(parents=True, exist_ok=True)
                token.touch()
            except OSError as error:
                raise StoreError(f"{self._cache}: not writable ({error.strerror})") from error
        try:
            answers = self._client.run(_introduce, str(token), on_error="return")
        finally:
            token.unlink(missing_ok=True)
        here = (version.VERSION, decoding.RECIPE)
        for worker, answer in answers.items():
            if isinstance(answer, ImportError) or "ModuleNotFoundError" in repr(answer):  # which may come wrapped
                raise UsageError(
                    f"worker {worker} has no featcache ({answer}); run there: pip install featcache=={here[0]}"
                )
            if isinstance(answer, BaseException):
                raise UsageError(f"worker {worker} does not work: {answer!r}")
            if tuple(answer["version"]) != here:
                raise UsageError(
                    f"worker {worker} has featcache {answer['version'][0]} ({answer['version'][1]}), here is {here[0]} "
                    f"({here[1]}); features of two versions must not be mixed: install the same one there"
                )
            if self.shared and not answer["sees"]:
                raise UsageError(
                    f"worker {worker} does not see the cache folder {self._cache}; mount it there at the same place, "
                    "or have shards sent over the network with --send-back"
                )
        self._cores = [answer["cores"] for answer in answers.values()]
        self._hosts = [answer["host"] for answer in answers.values()]

    def __enter__(self) -> DaskWorkers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def __len__(self) -> int:
        return len(self._hosts)

    def threads(self) -> int | None:
        """Processor threads that each worker may use: of the smallest machine, an equal share."""
        # Workers of one machine share its cores.
        return max(1, min(cores // self._hosts.count(h) for cores, h in zip(self._cores, self._hosts, strict=True)))

    def joblib(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, what joblib runs side by side runs on these workers."""
        import joblib

        return joblib.parallel_config("dask", client=self._client)

    def run(self, portions: Sequence[Portion], files: Mapping[str, Path]) -> Iterator[PortionResult]:
        """Compute all portions, in any order; ``files`` are sent, once, to workers that see no store.

        Raises :class:`StoreError` where a portion has taken several workers with it.
        """
        arguments = []
        if not self.shared:
            content = {place: path.read_bytes() for place, path in files.items()}
            arguments = self._client.scatter([content], broadcast=True)  # once, not with every portion
        futures = [self._client.submit(compute, portion, *arguments, pure=False) for portion in portions]
        with self._client.as_current():
            finished = self._dask.as_completed(futures)
        try:
            for future in finished:
                yield future.result()
                future.release()  # shards may be large
        except self._dask.KilledWorker as error:
            raise StoreError(
                f"a portion's workers died one after the other (out of memory?); what was done is kept: {error}"
            ) from error
        finally:
            self._client.cancel([future for future in futures if not future.done()])


@contextlib.contextmanager
def searching_on(scheduler: str | None) -> Iterator[None]:
    """Within it, searches run on the workers of a Dask cluster; where ``scheduler`` is None, here.

    Raises :class:`UsageError` as :class:`DaskWorkers` does. Workers need no cache folder: the features are sent, once.
    """
    if scheduler is None:
        yield
        return
    with DaskWorkers(scheduler, Path(), send_back=True) as workers, workers.joblib():
        yield


def _introduce(token: str) -> dict[str, Any]:
    """Runs on a worker: its version, and whether it sees a file."""
    import platform

    return {
        "version": (version.VERSION, decoding.RECIPE),
        "sees": os.path.exists(token),
        "cores": os.cpu_count() or 1,
        "host": platform.node(),
    }
