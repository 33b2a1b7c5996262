"""An app with each kind of trigger that the host offers.

What it saw, it appends to the file SEEN, one JSON line each.
"""

# ruff: noqa: PTH123, LOG015, ASYNC251

import asyncio
import json
import logging
import os
import threading
import time

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
lock = threading.Lock()


def saw(**what):
    with lock, open(os.environ["SEEN"], "a", encoding="utf-8") as stream:
        stream.write(json.dumps(what, default=str) + "\n")


def wait_at(gate):
    """Until a file of that name lies beside SEEN: a test lets it go."""
    while not os.path.exists(f"{os.environ['SEEN']}.{gate}"):  # noqa: PTH110
        time.sleep(0.02)


def as_json(value, status=200):
    return func.HttpResponse(json.dumps(value), status_code=status, mimetype="application/json")


@app.route(route="hello", methods=["GET"])
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("hello")


@app.route(route="echo/{id:int}/{*rest}")
def echo(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    logging.info("echoing %s", req.route_params.get("id"))
    return as_json(
        {
            "method": req.method,
            "url": req.url,
            "headers": dict(req.headers),
            "params": dict(req.params),
            "route": dict(req.route_params),
            "body": req.get_body().decode(),
            "function": context.function_name,
        }
    )


@app.route(route="plain", methods=["GET"])
def plain(req: func.HttpRequest) -> str:
    return "plain text"


@app.route(route="cookies", methods=["GET"])
def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = func.HttpResponse("", status_code=418)
    response.headers.add("Set-Cookie", "a=1; Path=/")
    response.headers.add("Set-Cookie", "b=2; HttpOnly")
    response.headers["X-Own"] = "yes"
    return response


@app.route(route="broken")
def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("AccountKey=hush; this\nbroke")


@app.route(route="nothing")
def nothing(req: func.HttpRequest) -> func.HttpResponse:
    return None


@app.route(route="guarded", auth_level=func.AuthLevel.FUNCTION)
def guarded(req: func.HttpRequest) -> str:
    return "in"


@app.route(route="locked", auth_level=func.AuthLevel.ADMIN)
def locked(req: func.HttpRequest) -> str:
    return "in"


@app.route(route="asleep/{seconds}")
async def asleep(req: func.HttpRequest) -> str:
    saw(started="asleep")
    await asyncio.sleep(float(req.route_params["seconds"]))
    saw(asleep=req.route_params["seconds"])
    return "awake"


@app.route(route="blocking/{seconds}")
def blocking(req: func.HttpRequest) -> str:
    saw(started="blocking")
    time.sleep(float(req.route_params["seconds"]))
    return "awake"


@app.route(route="held/{gate}")
def held(req: func.HttpRequest) -> str:
    saw(held=req.route_params["gate"])
    wait_at(req.route_params["gate"])
    return "let go"


@app.route(route="hog/{seconds}")
async def hog(req: func.HttpRequest) -> str:
    time.sleep(float(req.route_params["seconds"]))
    return "done"


loops = set()


@app.route(route="loops")
async def count_loops(req: func.HttpRequest) -> str:
    loops.add(id(asyncio.get_running_loop()))
    return str(len(loops))


@app.route(route="orders/{id}", methods=["POST"])
@app.queue_output(arg_name="order", queue_name="%ORDERS%", connection="STORE")
@app.blob_output(arg_name="copy", path="copies/{id}-{customer}.txt", connection="STORE")
def place_order(req: func.HttpRequest, order: func.Out[str], copy: func.Out[bytes]) -> str:
    order.set(req.get_body().decode())
    copy.set(req.get_body())
    return "placed"


@app.queue_trigger(arg_name="message", queue_name="%ORDERS%", connection="STORE")
def take_order(message: func.QueueMessage) -> None:
    text = message.get_body().decode()
    saw(
        order=text,
        id=message.id,
        tries=message.dequeue_count,
        inserted=message.insertion_time,
        expires=message.expiration_time,
        receipt=message.pop_receipt,
    )
    if "wait" in text:
        time.sleep(json.loads(text)["wait"])
        saw(waited=text)
    if "gate" in text:
        wait_at(json.loads(text)["gate"])
        saw(waited=text)
    if "fail" in text:
        raise RuntimeError(f"cannot take {text}")
    logging.getLogger("orders").info("took %s", text)


@app.blob_trigger(
    arg_name="blob",
    path="%INBOX%/{name}.json",
    connection="STORE",
    source=func.BlobSource.EVENT_GRID,
)
def file_arrived(blob: func.InputStream) -> None:
    content = blob.read().decode()
    saw(
        blob=blob.name,
        length=blob.length,
        uri=blob.uri,
        content=content,
        metadata=blob.metadata,
        etag=blob.blob_properties["ETag"],
    )
    if "fail" in content:
        raise RuntimeError("cannot read it")


@app.event_grid_trigger(arg_name="event")
def event_came(event: func.EventGridEvent) -> None:
    saw(event=event.id, type=event.event_type, subject=event.subject, data=event.get_json())
    if event.get_json().get("fail"):
        raise RuntimeError("cannot take the event")


@app.event_grid_trigger(arg_name="event")
async def cloud_event_came(event: func.CloudEvent) -> None:
    saw(cloud=event.id, data=event.get_json())


@app.timer_trigger(arg_name="timer", schedule="%OFTEN%")
async def tick(timer: func.TimerRequest) -> None:
    saw(tick=True, past_due=timer.past_due, status=timer.schedule_status)


@app.timer_trigger(arg_name="timer", schedule="%NIGHTLY%")
def nightly(timer: func.TimerRequest) -> None:
    saw(nightly=True, past_due=timer.past_due, status=timer.schedule_status)


@app.timer_trigger(arg_name="timer", schedule="%NIGHTLY%")
@app.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:00")
def stubborn(timer: func.TimerRequest, context: func.Context) -> None:
    saw(stubborn=context.retry_context.retry_count)
    raise RuntimeError("not today")
