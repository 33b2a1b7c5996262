"""Serve one model: `python -m local.compute.score --model DIR --port P --shape SHAPE`.

What a managed online deployment runs in its container, as a process: `GET /` answers 200 once the model is
loaded, `POST /score` takes Azure ML's request body, and the first two shapes have the OpenAI route
`POST /v1/chat/completions` too. It has no keys of its own and binds 127.0.0.1; the gateway before it
authenticates. It ends on SIGTERM and SIGINT, and when the process that started it dies.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

from local.compute.failures import JobFailed

SHAPE_NAMES: Final = ("foundation-model-inference", "foundation-model-serve", "mlflow")


def main(arguments: list[str] | None = None) -> int:
    """Load the model and serve it until told to stop.

    Returns:
        1 if the model cannot be loaded; otherwise it does not return before it is stopped.
    """
    parser = argparse.ArgumentParser(
        prog="python -m local.compute.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="MLflow model folder"
    )
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument(
        "--shape", choices=SHAPE_NAMES, default=SHAPE_NAMES[0], help="how to answer"
    )
    parser.add_argument("--name", help="what answers call the model (default: the folder's name)")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # A model that generates in its thread would hold up an orderly end; nothing here needs one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        return _serve(options)
    except JobFailed as error:
        print(f"cannot serve {options.model}: {error}", file=sys.stderr, flush=True)
        return 1


def _serve(options: argparse.Namespace) -> int:
    begun = time.monotonic()
    import uvicorn
    from transformers.utils import logging as transformers_logging

    from local.compute.scoring.app import ScoringServer
    from local.compute.scoring.generation import ChatModel

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    model = ChatModel(options.model)
    server = ScoringServer(model, options.name or options.model.resolve().name, options.shape)
    took = time.monotonic() - begun
    print(f"serving {options.model} on 127.0.0.1:{options.port} after {took:.1f} s", flush=True)
    uvicorn.run(
        server.app(),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return 0


def _end_with_parent(parent: int) -> None:
    """End this process when its parent is gone: an orphan gets another parent."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
