#!/usr/bin/env python3
"""Runs a command and prints its time and the peak of its memory: the sum over all its processes.

  python3 tests/tools/peak_memory.py COMMAND...
  python3 tests/tools/peak_memory.py halftone quantize smollm2-fp --recipe gptq_int4_g64 -o out/x

Resident memory (statm) of the whole process tree, sampled every 50 ms; pages that two processes share count twice, so this is an
upper bound. The exit code is the command's.
"""
import os
import pathlib
import subprocess
import sys
import time

PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(pid):
    """pid and all below it; processes may end at any moment."""
    found = [pid]
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in children.read_text().split():
                found += tree(int(child))
        except OSError:
            pass
    return found


def resident(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
    sys.exit(__doc__)
start = time.monotonic()
process = subprocess.Popen(sys.argv[1:])
peak = 0
while process.poll() is None:
    peak = max(peak, sum(map(resident, tree(process.pid))))
    time.sleep(0.05)
print(f"{time.monotonic() - start:.1f} s, peak {peak / 1e6:.0f} MB", file=sys.stderr)
sys.exit(process.returncode)
