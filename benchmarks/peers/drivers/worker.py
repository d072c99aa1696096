"""Both ends of a Python peer's own process: JSON lines in, JSON lines out, idle in a blocking read between.

In the peer's file, which is run as `venv/bin/python -m drivers.NAME worker MODEL VARIANT THREADS`:

    if __name__ == "__main__":
        serve(load)         # load(path, variant, threads) -> object with prefill(ids), decode(bos, count)
"""
import json
import os
import pathlib
import subprocess
import sys
import time

from .process import Usage, Watch, cpu_s_of, first_cpus, status_bytes


class Worker:
    """The host's end."""

    def __init__(self, command, threads: int, folder: pathlib.Path, log: pathlib.Path, environment):
        self.watch = Watch()
        cpus = first_cpus(threads)
        self.log = log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder,
                                            env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cpus))

    def ask(self, request: dict) -> tuple[dict, Usage]:
        """The worker's answer, {"error": why} when it died, and what it used."""
        pid = self.process.pid
        watch, before = Watch(), cpu_s_of(pid)
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            lines = [text.strip() for text in self.log.read_text(errors="replace").splitlines() if text.strip()]
            why = lines[-1][:300] if lines else f"the worker ended with {status}"
            return {"error": why}, watch.usage(0, 0)
        return json.loads(line), watch.usage(cpu_s_of(pid) - before, status_bytes(pid, "VmHWM"))

    def usage_since_start(self, usage: Usage) -> None:
        """Rewrites `usage` as that of the whole life of the worker."""
        vars(usage).update(vars(self.watch.usage(cpu_s_of(self.process.pid), status_bytes(self.process.pid, "VmHWM"))))

    def resident(self) -> int:
        return status_bytes(self.process.pid, "VmRSS")

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Generator:
    """Of a model that only generates: `generate(ids, count)` reads a prompt and gives exactly `count` tokens."""

    def prefill(self, ids):
        self.generate(ids, 1)

    def decode(self, bos, count):
        self.generate([bos], count)


def serve(load) -> None:
    """The worker's end: loads at the first request, answers until stdin closes. Whatever a library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    path, variant, threads = sys.argv[2], sys.argv[3], int(sys.argv[4])
    model = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            model = model or load(path, variant, threads)
            if request["what"] == "speed":
                values = speed(model, request)
            elif request["what"] == "first_token":
                model.prefill(request["ids"])
                values = {}
            elif request["what"] == "bytes":
                values = {"bytes": model.bytes()}
            else:
                values = {}     # "load": that it is there is all that was asked
            answer = {"values": values}
        except Exception as error:  # the host shows it in the table
            import traceback
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def speed(model, request) -> dict:
    start = time.perf_counter()
    model.prefill(request["ids"])
    middle = time.perf_counter()
    model.decode(request["bos"], request["decode"])
    end = time.perf_counter()
    return {"prefill": len(request["ids"]) / (middle - start), "decode": request["decode"] / (end - middle)}
