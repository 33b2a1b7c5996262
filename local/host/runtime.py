"""Microsoft's Python runtime for Functions, driven in this process.

`azure-functions-runtime` is what Azure's proxy worker loads on Python 3.13 and later; its native
entry needs neither gRPC nor protobuf. That entry is not documented, so the version is pinned
exactly and `tests/host/test_runtime.py` holds it to what Azure accepts and rejects. On Python
below 3.13 Azure itself runs another worker, which agrees on those cases.

The runtime keeps its registry in its modules: one app per process.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from local.host.problems import AppRejected, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PINNED: Final = "1.3.0"
_PACKAGE: Final = "azure-functions-runtime"


@dataclass(frozen=True, slots=True)
class Indexed:
    """A function as the runtime found it.

    Attributes:
        name: Its name.
        id: What the runtime calls it.
        bindings: Its raw bindings, with the names of function.json.
        retry: Its retry policy, or None: `max_retry_count`, and `delay_interval` or
            `minimum_interval` and `maximum_interval` (timedelta).
    """

    name: str
    id: str
    bindings: tuple[Mapping[str, Any], ...]
    retry: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Result:
    """How an invocation ended.

    Attributes:
        ok: Whether the function returned.
        returned: The Datum it returned, if its binding has one.
        outputs: Name and Datum of each output that was set.
        error: The exception on one line; empty when ok.
        trace: Its traceback; empty when ok.
    """

    ok: bool
    returned: Any = None
    outputs: tuple[tuple[str, Any], ...] = ()
    error: str = ""
    trace: str = ""


class _Record(SimpleNamespace):
    """Stands where the runtime builds protobuf messages."""


# The runtime compares with these numbers of FunctionRpc.proto.
_PROTOCOL: Final = SimpleNamespace(
    BindingInfo=type(
        "BindingInfo",
        (_Record,),
        {"in_": 0, "out": 1, "inout": 2, "undefined": 0, "string": 1, "binary": 2, "stream": 3},
    ),
    StatusResult=type("StatusResult", (_Record,), {"Failure": 0, "Success": 1, "Cancelled": 2}),
    WorkerInitResponse=_Record,
    WorkerMetadata=_Record,
    RpcException=_Record,
    RpcFunctionMetadata=_Record,
    RpcRetryOptions=_Record,
    FunctionMetadataResponse=_Record,
)


class Runtime:
    """One loaded app."""

    def __init__(self, runtime: Any, native: Any, datum: Any) -> None:
        self._invoke = native.invocation_request_native
        self._current = runtime.invocation_id_cv
        self._datum = datum

    @classmethod
    async def load(cls, app: Path) -> tuple[Runtime, tuple[Indexed, ...]]:
        """Import the app in `app` and index it.

        Raises:
            AppRejected: The runtime is not the pinned one, or does not accept the app: the
                problem is the message that Azure shows.
        """
        _check_version()
        import azure_functions_runtime as runtime
        from azure_functions_runtime import native_invocation
        from azure_functions_runtime.bindings.datumdef import Datum

        if str(app) not in sys.path:
            sys.path.insert(0, str(app))
        runtime.start_threadpool_executor()  # reads PYTHON_THREADPOOL_THREAD_COUNT
        init = SimpleNamespace(capabilities={}, function_app_directory=str(app))
        answer = await runtime.worker_init_request(
            SimpleNamespace(
                request=SimpleNamespace(worker_init_request=init),
                properties={"host": "127.0.0.1", "protos": _PROTOCOL},
            )
        )
        if answer.result.status != _PROTOCOL.StatusResult.Success:
            error = answer.result.exception
            raise AppRejected([Problem("function_app.py", _origin(error.message), "")])
        if "HttpUri" in answer.capabilities:
            raise AppRejected([Problem("function_app.py", _NO_STREAMS)])
        metadata = (await runtime.functions_metadata_request(None)).function_metadata_results
        indexed = tuple(_indexed(function) for function in metadata or ())
        if not indexed:
            raise AppRejected(
                [
                    Problem(
                        str(app),
                        "no functions found",
                        "A Python v2 app has a function_app.py with a FunctionApp and functions.",
                    )
                ]
            )
        return cls(runtime, native_invocation, Datum), indexed

    def datum(self, value: Any, kind: str) -> Any:
        """A value for a function; `kind` is `string`, `bytes`, `json` (a text) or `http`."""
        return self._datum(value, kind)

    def current_invocation(self) -> str | None:
        """The id of the invocation that the calling task or thread belongs to."""
        found: str | None = self._current.get()
        return found

    async def invoke(
        self,
        invocation: str,
        function: str,
        argument: tuple[str, Any],
        metadata: Mapping[str, Any],
        *,
        tries: int = 0,
        most_tries: int = 0,
    ) -> Result:
        """Run a function: async ones on the calling loop, others on the runtime's thread pool.

        Args:
            invocation: A fresh id.
            function: The function's id.
            argument: Name and Datum of the trigger's argument.
            metadata: Trigger metadata, as Datums.
            tries: How often this was tried before under a retry policy.
            most_tries: The policy's bound.
        """
        ok, returned, outputs, error, trace = await self._invoke(
            invocation,
            function,
            [argument],
            metadata,
            retry_count=tries,
            max_retry_count=most_tries,
        )
        if ok:
            return Result(ok, returned, tuple(outputs))
        return Result(ok, error=_summary(error, trace), trace=trace)


_NO_STREAMS: Final = (
    "it streams HTTP (azurefunctions-extensions-http-fastapi), which this host does not offer"
)


def _check_version() -> None:
    mend = f"pip install --no-deps --ignore-requires-python {_PACKAGE}=={PINNED}"
    try:
        found = importlib.metadata.version(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise AppRejected([Problem(_PACKAGE, "it is not installed", f"Run: {mend}")]) from None
    if found != PINNED:
        reason = f"version {found} is installed; its native entry was tested in {PINNED} alone"
        raise AppRejected([Problem(_PACKAGE, reason, f"Run: {mend}")])


def _indexed(function: Any) -> Indexed:
    bindings = tuple(json.loads(text) for text in function.raw_bindings)
    if any(b.get("properties", {}).get("supportsDeferredBinding") for b in bindings):
        reason = "it binds a type of an SDK, which this host does not offer"
        raise AppRejected([Problem(function.name, reason)])
    retry = None if function.retry_options is None else vars(function.retry_options)
    return Indexed(function.name, function.function_id, bindings, retry)


def _origin(message: str) -> str:
    """Without the search path that the runtime appends to import errors."""
    return message.partition(" Current sys.path:")[0].strip()


def _summary(error: str, trace: str) -> str:
    """`ValueError: why` from a traceback, on one line."""
    lines = (trace or "").rstrip().splitlines()
    last = max((n for n, line in enumerate(lines) if line.startswith("  ")), default=-1)
    text = " ".join(line.strip() for line in lines[last + 1 :]) or error
    return text if len(text) <= _LONGEST_SUMMARY else text[: _LONGEST_SUMMARY - 1] + "…"


_LONGEST_SUMMARY: Final = 500
