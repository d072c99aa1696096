#!/usr/bin/env python3
"""Kills a quantization at random moments, resumes it, and compares the bytes with those of an undisturbed run.

  python3 tests/tools/kill_at_random.py HALFTONE SCRATCH --kills 20 -- smollm2-fp --recipe gptq_int4_g64 --samples 4 --length 128

HALFTONE  the program; SCRATCH  a folder to work in. What follows `--` goes to `halftone quantize` (without -o).
Every kill is SIGKILL to the whole process group, at a time drawn from the length of the undisturbed run; each is followed by one --resume. Prints blocks
reused and seconds; exit code 0 when all bytes are equal.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time


def sha256_of(folder):
    h = hashlib.sha256()
    for path in sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file()):
        h.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return h.hexdigest()


split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("halftone")
parser.add_argument("scratch", type=pathlib.Path)
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args(sys.argv[1:split])
random.seed(args.seed)
args.scratch.mkdir(parents=True, exist_ok=True)


def command(out, *more):
    return [args.halftone, "quantize", *sys.argv[split + 1:], "-o", str(out), "--quiet", "--json", "--no-measure", *more]


whole, killed = args.scratch / "whole", args.scratch / "killed"
start = time.monotonic()
subprocess.run(command(whole, "--force"), check=True, stdout=subprocess.DEVNULL)
length, wanted = time.monotonic() - start, sha256_of(whole)
print(f"undisturbed: {length:.1f} s, sha256 {wanted[:16]}", flush=True)
bad = 0
for i in range(args.kills):
    for path in (killed, pathlib.Path(str(killed) + ".work")):
        shutil.rmtree(path, ignore_errors=True)
    wait = random.uniform(0, length)
    run = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        run.wait(wait)
        how = "had finished"
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        how = "killed"
    partial = killed.exists() and how == "killed" and sha256_of(killed) != wanted
    start = time.monotonic()
    resumed = subprocess.run(command(killed, "--resume"), stdout=subprocess.PIPE, check=False)
    seconds = time.monotonic() - start
    same = resumed.returncode == 0 and sha256_of(killed) == wanted and not partial
    bad += not same
    reused = json.loads(resumed.stdout)["reused_blocks"] if resumed.returncode == 0 else "-"
    print(f"{i + 1:3}  {how} at {wait:6.2f} s   blocks reused {reused:>3}   resumed in {seconds:6.1f} s   {'same bytes' if same else 'DIFFERENT'}", flush=True)
print(f"{args.kills - bad} of {args.kills} the same bytes")
sys.exit(bad > 0)
