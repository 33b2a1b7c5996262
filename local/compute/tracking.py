"""Send parameters and metrics to the job's MLflow run, through short outages of the server.

Nothing is lost and nothing is sent twice: points wait in memory while the server is away, and a job that
resumes from a checkpoint sends what the run misses of the checkpoint's history.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any, Final

from local.compute.failures import SystemFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BATCH: Final = 500  # MLflow takes at most 1000 metrics in a request
LONGEST_VALUE: Final = 500  # of a parameter
NOT_METRICS: Final = frozenset({"step"})


class Tracking:
    """The job's MLflow run.

    Args:
        uri: The tracking server, `http://host:port`.
        run_id: An existing run.
        patience: Seconds that `flush` waits for a server that is away.
    """

    def __init__(self, uri: str, run_id: str, *, patience: float = 60.0) -> None:
        # A send within training must not hold it up: one quick retry, the rest waits for the next send.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        self._run_id = run_id
        self._patience = patience
        self._metrics: list[Any] = []
        self._params: list[Any] = []
        self._known: set[tuple[str, int]] = set()
        self._away = False

    def params(self, values: Mapping[str, Any]) -> None:
        """Queue parameters, and send if possible; a resumed job may repeat them, for MLflow takes the same twice.

        Raises:
            SystemFailure: As for `metrics`.
        """
        from mlflow.entities import Param

        self._params += [Param(name, str(value)[:LONGEST_VALUE]) for name, value in values.items()]
        self._send()

    def metrics(self, step: int, values: Mapping[str, Any]) -> None:
        """Queue the finite numbers among `values` as metrics of `step`, each once, and send if possible.

        Raises:
            SystemFailure: The server answers and will not take them, as for a run that does not exist.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in values.items():
            point = (name, step)
            if point in self._known or name in NOT_METRICS or not isinstance(value, int | float):
                continue
            if math.isfinite(value):
                self._known.add(point)
                self._metrics.append(Metric(name, float(value), now, step))
        self._send()

    def resume(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Learn what the run has, and send what it misses of a checkpoint's log history.

        Args:
            history: Entries as the trainer's state holds them: `{"step": …, name: value, …}`.

        Raises:
            SystemFailure: The server stays away.
        """
        entries = list(history)
        for name in {name for entry in entries for name in entry} | {"base_eval_loss"}:
            points = self._insist(
                lambda name=name: self._client.get_metric_history(self._run_id, name)
            )
            self._known |= {(point.key, point.step) for point in points}
        for entry in entries:
            self.metrics(int(entry["step"]), entry)

    def flush(self) -> None:
        """Send everything that waits.

        Raises:
            SystemFailure: The server stays away for longer than the patience.
        """
        self._insist(self._send_all)

    def _send(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._send_all()
        except MlflowException as error:
            if _is_final(error):
                raise _refusal(error) from error
            if not self._away:
                print(
                    f"MLflow does not answer; metrics wait for it: {_first_line(error)}",
                    flush=True,
                )
            self._away = True

    def _send_all(self) -> None:
        while self._params or self._metrics:
            params, metrics = self._params[:100], self._metrics[:BATCH]
            self._client.log_batch(self._run_id, metrics=metrics, params=params)
            del self._params[:100], self._metrics[:BATCH]
        if self._away:
            print("MLflow answers again; all waiting metrics are sent", flush=True)
            self._away = False

    def _insist(self, call: Any) -> Any:
        from mlflow.exceptions import MlflowException

        end = time.monotonic() + self._patience
        while True:
            try:
                return call()
            except MlflowException as error:
                if time.monotonic() >= end or _is_final(error):
                    raise _refusal(error) from error
                time.sleep(0.5)


def _is_final(error: Any) -> bool:
    """Whether the server answered and will say the same again."""
    return error.error_code in {
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "PERMISSION_DENIED",
    }


def _refusal(error: Exception) -> SystemFailure:
    return SystemFailure(f"MLflow did not take the run's metrics: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
