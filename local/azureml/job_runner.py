"""How a job lives: one task per job walks it from NotStarted to its end.

Every step of the walk is kept before the next begins, and each can be done again, so a control
plane that was killed takes every job up where it was: it waits for the rest of a wait, adopts a
training process that still lives, starts one again that does not, uploads outputs once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from local import processes
from local.azureml import (
    command_jobs,
    datastores,
    job_documents,
    job_files,
    job_orders,
    tracking,
    training,
)
from local.azureml.clock import iso
from local.azureml.job_checks import paths_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import psutil

    from local.azureml.job_documents import Job
    from local.azureml.plane import Plane

LOG = logging.getLogger("local.azureml")
STARTS: Final = 3
_WAY: Final = ("NotStarted", "Preparing", "Queued", "Running", "Finalizing")


class _Cancelled(Exception):
    """Somebody asked the job to end, while the walk was about to move it on."""


class _Failure(Exception):
    """The job cannot go on; `code` is UserError or SystemError."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@contextlib.asynccontextmanager
async def lifespan(plane: Plane) -> AsyncIterator[None]:
    """Take up every job that has not ended; at the end stop what trains: it resumes next time."""
    runner = plane.parts["jobs"] = _Runner(plane)
    unfinished = [
        document
        for document in plane.store.each(job_documents.KIND)
        if document.body["status"] not in job_documents.TERMINAL
    ]
    for document in sorted(unfinished, key=lambda each: each.sequence):
        runner.start(document.body["name"])
    try:
        yield
    finally:
        await runner.close()


def start(plane: Plane, name: str) -> None:
    """Let a job that was just kept begin."""
    plane.parts["jobs"].start(name)


def cancel(plane: Plane, job: Job) -> None:
    """Ask a job that has not ended to end."""
    plane.parts["jobs"].cancel(job)


class _Runner:
    """The tasks of all jobs that have not ended."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancels: dict[str, asyncio.Event] = {}
        self._slots = asyncio.Semaphore(plane.settings.training_slots)

    def start(self, name: str) -> None:
        self._cancels[name] = asyncio.Event()
        task = self._tasks[name] = asyncio.create_task(self._live(name), name=f"job {name}")
        task.add_done_callback(lambda _task: self._forget(name))

    def _forget(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._cancels.pop(name, None)

    def cancel(self, job: Job) -> None:
        job_documents.set_status(self._plane, job, "CancelRequested")
        bell = self._cancels.get(job["name"])
        if bell is not None:
            bell.set()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, name: str) -> None:
        """Walk one job to its end; what breaks the walk fails the job, with the reason."""
        try:
            if self._job(name)["status"] != "CancelRequested":
                await self._until_cancelled(name)
            if self._job(name)["status"] == "CancelRequested":
                await self._end_cancelled(name)
        except Exception as problem:
            LOG.exception("job %s broke the emulator", name)
            self._end(name, "Failed", {"code": "SystemError", "message": f"{problem}"})

    def _job(self, name: str) -> Job:
        job = job_documents.find(self._plane, name)
        assert job is not None
        return job

    async def _until_cancelled(self, name: str) -> None:
        walk = asyncio.create_task(self._walk(name))
        bell = asyncio.create_task(self._cancels[name].wait())
        try:
            await asyncio.wait((walk, bell), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (walk, bell):
                task.cancel()
            outcomes = await asyncio.gather(walk, bell, return_exceptions=True)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]

    async def _walk(self, name: str) -> None:
        try:
            self._resume_silent(name)
            while (status := self._job(name)["status"]) in _WAY:
                await job_orders.obey(self._plane, name)
                if status == "Queued":
                    await self._wait(name, status)
                    async with self._slots:
                        await self._train_as_queued(name)
                elif status == "Running":
                    async with self._slots:
                        await self._train(name)
                elif status == "Finalizing":
                    await self._finalize(name)
                else:
                    await self._wait(name, status)
                    if status == "Preparing":
                        await self._ensure_run(name)
                    self._move(name, _WAY[_WAY.index(status) + 1])
        except _Cancelled:
            return
        except (_Failure, job_orders.FailedAsOrdered) as failure:
            self._end_children(name, "Failed")
            await tracking.end_run(self._plane, self._job(name), "FAILED")
            self._end(name, "Failed", {"code": failure.code, "message": failure.message})

    def _resume_silent(self, name: str) -> None:
        """A job that was held under another status when the control plane ended goes on."""
        job = self._job(name)
        if job["status"] not in (*_WAY, *job_documents.TERMINAL, "CancelRequested"):
            job_documents.set_status(self._plane, job, "Running")

    async def _wait(self, name: str, status: str) -> None:
        table = self._plane.timetable
        seconds = {
            "NotStarted": table.job_not_started,
            "Preparing": table.job_preparing,
            "Queued": table.job_queued,
            "Finalizing": table.job_finalizing,
            "CancelRequested": table.job_cancel,
        }[status]
        since = datetime.fromisoformat(self._job(name)["since"])
        await self._plane.clock.sleep_until(since + timedelta(seconds=seconds))

    def _move(self, name: str, status: str, error: dict[str, str] | None = None) -> None:
        """Move the job on, unless somebody asked it to end."""
        job = self._job(name)
        if job["status"] == "CancelRequested" and status != "Canceled":
            raise _Cancelled
        job_documents.set_status(self._plane, job, status, error)
        LOG.info("job %s %s%s", name, status, f": {error['message']}" if error else "")

    async def _ensure_run(self, name: str) -> str:
        try:
            return await tracking.ensure_run(self._plane, self._job(name))
        except ConnectionError as problem:
            raise _Failure("SystemError", str(problem)) from None

    def _end_children(self, name: str, status: str) -> None:
        job, now = self._job(name), iso(self._plane.clock.now())
        for step, child in job["children"].items():
            if child["status"] not in job_documents.TERMINAL:
                job_documents.set_child_status(self._plane, job, step, status, now)

    def _end(self, name: str, status: str, error: dict[str, str] | None = None) -> None:
        with contextlib.suppress(_Cancelled):
            self._move(name, status, error)
        if self._job(name)["status"] not in job_documents.TERMINAL:
            return
        folder = job_documents.folder(self._plane, name)
        for each in ("inputs", "outputs", "code"):
            shutil.rmtree(folder / each, ignore_errors=True)

    async def _train_as_queued(self, name: str) -> None:
        self._move(name, "Running")
        await job_orders.obey(self._plane, name)
        await self._train(name)

    async def _train(self, name: str) -> None:
        """Run the training process to its result, starting it again if it dies without one."""
        plane, folder = self._plane, job_documents.folder(self._plane, name)
        process = training.adopt(self._job(name)["process"], folder)
        while training.read_result(folder) is None or process is not None:
            if process is None:
                process = await self._start(name)
            await self._watch(name, process)
            training.end_group(process.pid)
            process = None
            if training.read_result(folder) is None:
                self._count_death(name)
        self._read_progress(name)
        result = training.read_result(folder)
        assert result is not None
        if result["status"] == "Canceled":  # it took longer than its limit
            job_documents.set_status(plane, self._job(name), "CancelRequested")
            raise _Cancelled
        if result["status"] == "Failed":
            error = result.get("error") or {}
            raise _Failure(
                str(error.get("code") or "SystemError"), str(error.get("message") or "No reason.")
            )
        await tracking.end_run(plane, self._job(name), "FINISHED")
        self._move(name, "Finalizing")

    def _count_death(self, name: str) -> None:
        """Note that the process died without a result; the third time fails the job."""
        job = self._job(name)
        job["deaths"] += 1
        job["process"] = None
        job_documents.save(self._plane, job)
        LOG.warning("job %s: its process died without a result (%d)", name, job["deaths"])
        if job["deaths"] >= STARTS:
            log = training.last_lines(job_documents.folder(self._plane, name))
            raise _Failure(
                "SystemError",
                f"The training process died {STARTS} times without a result. Its log ends:\n{log}",
            )

    async def _start(self, name: str) -> psutil.Process:
        plane, folder = self._plane, job_documents.folder(self._plane, name)
        if not (folder / "job.json").exists():
            await self._prepare(name)
        try:
            process = training.start(self._program(name), folder)
            started = processes.started(process)
        except OSError as problem:
            raise _Failure(
                "SystemError", f"The training process cannot start: {problem}"
            ) from None
        job = self._job(name)
        job["process"] = {"pid": process.pid, "started": started}
        job_documents.save(plane, job)
        LOG.info("job %s trains as process %d", name, process.pid)
        return process

    def _program(self, name: str) -> Sequence[str]:
        """What runs the job in a folder."""
        if command_jobs.is_command(self._job(name)):
            return command_jobs.PROCESS
        return self._plane.settings.train_command

    async def _prepare(self, name: str) -> None:
        """Bring the inputs and write `job.json`, which comes last: it says that all is there."""
        plane, job = self._plane, self._job(name)
        folder = job_documents.folder(plane, name)
        folder.mkdir(parents=True, exist_ok=True)
        run_id = await self._ensure_run(name)
        write = command_jobs.job_file if command_jobs.is_command(job) else self._pipeline_file
        try:
            content = await write(plane, job, run_id)
        except FileNotFoundError as problem:
            raise _Failure("UserError", str(problem)) from None
        await asyncio.to_thread(training.write_json, folder / "job.json", content)

    @staticmethod
    async def _pipeline_file(plane: Plane, job: Job, run_id: str) -> dict[str, Any]:
        """The `job.json` of a pipeline, its inputs fetched."""
        folder = job_documents.folder(plane, job["name"])
        inputs: dict[str, Any] = dict(job["literals"])
        for key, given in paths_of(job).items():
            where = job_files.locate(plane, given)
            store = datastores.storage(plane)
            found = await asyncio.to_thread(
                job_files.fetch, store, where, key, given, folder / "inputs"
            )
            inputs[key] = str(found)
        outputs = {}
        for each in job["outputs"].values():
            made = folder / "outputs" / each["of"]
            made.mkdir(parents=True, exist_ok=True)
            outputs[each["of"]] = str(made)
        return {
            "name": job["name"],
            "experiment": job["experiment"],
            "tracking_uri": plane.settings.tracking_uri,
            "tracking_run_id": run_id,
            "inputs": inputs,
            "outputs": outputs,
        }

    async def _watch(self, name: str, process: psutil.Process) -> None:
        """Follow the steps until the process ends; if this task is stopped, it is ended too."""
        gone = asyncio.create_task(training.ended(process))
        try:
            while not gone.done():
                await asyncio.wait((gone,), timeout=0.2)
                self._read_progress(name)
        except asyncio.CancelledError:
            gone.cancel()
            await training.kill(process)
            raise

    def _read_progress(self, name: str) -> None:
        """Take over what the process told: properties of the job's run, and the steps' statuses."""
        job, folder = self._job(name), job_documents.folder(self._plane, name)
        told = training.read_properties(folder)
        if told.keys() - job["properties"].keys():
            job["properties"] = {**told, **job["properties"]}  # on Azure one that is set stays
            job_documents.save(self._plane, job)
        seen = job.get("steps_seen", 0)
        for step, status, time in training.read_steps(folder, seen):
            seen += 1
            job["steps_seen"] = seen
            if step:
                job_documents.set_child_status(self._plane, job, step, status, time)
                LOG.info("job %s: %s %s", name, step, status)

    async def _finalize(self, name: str) -> None:
        """Upload the outputs; only then is the job Completed."""
        plane, job = self._plane, self._job(name)
        store, folder = datastores.storage(plane), job_documents.folder(plane, name)
        for output, each in job["outputs"].items():
            made = folder / "outputs" / each["of"]
            prefix = job_documents.output_path(job, output)
            number = await asyncio.to_thread(
                store.upload, datastores.DEFAULT_CONTAINER, prefix, made
            )
            LOG.info("job %s: output %s, %d files", name, output, number)
        await self._wait(name, "Finalizing")
        self._end(name, "Completed")

    async def _end_cancelled(self, name: str) -> None:
        plane, job = self._plane, self._job(name)
        process = training.adopt(job["process"], job_documents.folder(plane, name))
        if process is not None:
            await training.kill(process)
        self._end_children(name, "Canceled")
        await tracking.end_run(plane, self._job(name), "KILLED")
        await self._wait(name, "CancelRequested")
        self._end(name, "Canceled")
