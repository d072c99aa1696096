"""What the head of a table says about the machine, and the limits of it that benchmarks/limits measures."""
import json
import os
import pathlib
import platform
import subprocess
import time

FLAGS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve")


def cpu() -> dict:
    model, flags = platform.machine(), []
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = [f for f in FLAGS if f in value.split()]
    return {"cpu": model, "flags": flags, "cpus": os.cpu_count()}


def describe(repository: pathlib.Path) -> dict:
    """CPU, kernel, load, memory and the commit of ours; what cannot be read is left out."""
    facts = {**cpu(), "kernel": platform.release(), "load_average": list(os.getloadavg()), "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            facts["memory_bytes"] = int(line.split()[1]) * 1024
    head = subprocess.run(["git", "-C", str(repository), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if head.returncode == 0:
        facts["commit"] = head.stdout.strip()
    return facts


def limits(program: pathlib.Path, threads: list[int]) -> list[dict]:
    """What this machine can do at most: rows of {isa, threads, what, unit, median, best}."""
    done = subprocess.run([str(program), "--json", "--threads", ",".join(map(str, threads))], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench.py: {program}: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)["limits"]


def read_bandwidth(rows: list[dict], threads: int) -> float | None:
    """Bytes a second of the 4-stream read from memory, the median, on the widest instruction set measured."""
    found = [row for row in rows if row["threads"] == threads and row["what"] == "memory, 4 streams"]
    return max(row["median"] for row in found) * 1e9 if found else None
