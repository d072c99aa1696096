#!/usr/bin/env python3
"""Our kernels beside ggml's, OpenBLAS's and a float look-up: the same product, threads and bits per weight, samples alternating in one run.

A product is a whole call, f32 activations in and f32 results out; in decode it walks through copies of the weights, beyond every cache. For each
pair both programs prepare it and then take samples in turn, beginning with the other one in every round; a round's ratio is of two samples that
followed each other. A sample that something else disturbed is taken again. docs/performance.md says more.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import kernel_table
import machine
import samplers
import table
from bench import OTHERS, REPOSITORY, Care, clock, say
from drivers.peer import Unavailable
from kernel_table import Row
from samplers.sampler import SHAPES, Options, Sampler

PREFILL_ROWS = 512
EXAMPLES = """examples:
  kernels.py --limits build/release/bin/limits --json kernels.json --markdown kernels.md
  kernels.py --only Q4_0 --threads 2 --rounds 15
  kernels.py --check benchmarks/peers/floors.json      (exit code 1 when a ratio fell)
  kernels.py --peers none --add decode.json prefill.json --markdown kernels.md      (one table of what was measured in parts)
"""


def pause() -> None:
    """Threads of the program that has just answered may still spin for their next product; a library's patience is some 30 ms."""
    time.sleep(0.05)


class Side:
    """One sampler's process at one number of threads."""

    def __init__(self, sampler: Sampler, threads: int):
        self.sampler, self.threads = sampler, threads
        self.worker = None

    def ask(self, request: dict) -> tuple[dict, "Usage"]:
        if not self.worker:
            self.worker = self.sampler.start(self.threads)
        answer, usage = self.worker.ask(request)
        if "error" in answer:
            self.close()
            raise Unavailable(f"{self.sampler.name}: {answer['error']}")
        return answer["values"], usage

    def prepare(self, case: str, row: Row, cold_bytes: int) -> dict:
        return self.ask({"what": "prepare", "case": case, "n": row.n, "k": row.k, "m": row.m, "cold_bytes": cold_bytes if row.pair.op == "decode" else 0})[0]

    def sample(self, seconds: float) -> tuple[float, bool]:
        """Seconds of a call, and whether nothing else ran."""
        values, usage = self.ask({"what": "sample", "seconds": seconds})
        return values["seconds"], usage.others_share <= OTHERS and not values["busy"]

    def close(self) -> None:
        if self.worker:
            self.worker.close()
            self.worker = None


def take(side, seconds: float, care: Care, row: Row) -> tuple[float, bool]:
    """The first clean sample, or the last of all tries."""
    for attempt in range(care.retries + 1):
        if attempt:
            row.dropped += 1
            care.quiet(care.patience_s)
        value, clean = side.sample(seconds)
        pause()
        if clean:
            break
    return value, clean


def measure(row: Row, ours, peer, rounds: int, seconds: float, cold_bytes: int, care: Care) -> None:
    """Fills a row."""
    try:
        for side, case in ((ours, row.pair.ours), (peer, row.pair.case)):
            facts = side.prepare(case, row, cold_bytes)
            which = "ours" if side is ours else "peer"
            setattr(row, f"{which}_bytes", facts["bytes"])
            setattr(row, f"{which}_path", facts["path"])
        for index in range(rounds):
            order = (ours, peer) if index % 2 == 0 else (peer, ours)
            taken = {id(side): take(side, seconds, care, row) for side in order}
            (mine, first), (its, second) = taken[id(ours)], taken[id(peer)]
            row.rounds.append((mine, its, first and second))
    except Unavailable as reason:
        row.reason = str(reason)
        row.rounds.clear()
        say(f"  unavailable: {reason}")


def make_rows(peers: list[Sampler], threads: list[int], only: str, ops: list[str]) -> list[Row]:
    return [Row(peer.name, pair, n, k, PREFILL_ROWS if pair.op == "prefill" else 1, t)
            for t in threads for peer in peers for pair in peer.pairs if pair.op in ops for n, k in SHAPES[pair.op]
            if only in f"{pair.op} {pair.ours} / {peer.name} {pair.case} {n}x{k}"]


def install(known: list[Sampler], versions: dict[str, str], reasons: list[str]) -> list[Sampler]:
    found = []
    for sampler in known:
        try:
            versions[sampler.name] = sampler.install()
            found.append(sampler)
        except (Unavailable, OSError, subprocess.CalledProcessError) as reason:
            reasons.append(f"{sampler.name}: {reason}")
            say(f"{sampler.name}: unavailable: {reason}")
    return found


def header(facts: dict, versions: dict[str, str], limits: list[dict], args) -> list[str]:
    out = [f"{facts['cpu']} ({' '.join(facts['flags'])}), {facts['cpus']} CPUs, kernel {facts['kernel']}, load {facts['load_average'][0]:.2f} at the start, {facts['date']}",
           "; ".join(versions.values()) + (f"; this tree {facts['commit']}" if "commit" in facts else ""),
           (f"{args.rounds} rounds of {args.seconds:g} s a side, medians" if args.peers else "medians") +
           f" (smallest-largest ratio of a round); decode walks through {args.cold_mib} MiB"]
    return out + kernel_table.limit_lines(limits)


def parse(arguments, names: list[str]) -> argparse.Namespace:
    release = REPOSITORY / "build" / "release" / "bin"
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel-bench", type=pathlib.Path, default=release / "kernel_bench", help="ours (default build/release/bin/kernel_bench)")
    parser.add_argument("--isa", default="", help="instruction set of ours (default: the best of this CPU)")
    parser.add_argument("--peers", default="all", help=f"comma-separated, or all, or none: {', '.join(names)} (default all)")
    parser.add_argument("--ops", default="decode,prefill", help="comma-separated (default decode,prefill)")
    parser.add_argument("--only", default="", help="pairs that hold this, as in 'decode W4 g32 / ggml Q4_0 4096x11008'")
    parser.add_argument("--threads", default="1,2", help="comma-separated; each program is pinned to that many CPUs (default 1,2)")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each side (default 9)")
    parser.add_argument("--seconds", type=float, default=0.15, help="of a sample, after a warm-up (default 0.15; at least one call)")
    parser.add_argument("--cold-mib", type=int, default=1024, help="weights that decode walks through (default 1024)")
    parser.add_argument("--limits", type=pathlib.Path, metavar="PROGRAM", help="build/release/bin/limits: what the machine can do at most")
    parser.add_argument("--add", type=pathlib.Path, nargs="+", default=[], metavar="FILE", help="what --json wrote before: its rows join the table, and its limits")
    parser.add_argument("--root", type=pathlib.Path, default=REPOSITORY / "build" / "peers", help="where peers are installed (default build/peers)")
    parser.add_argument("--patience", type=float, default=30, help="seconds to wait for a quiet machine before a sample is taken again (default 30)")
    parser.add_argument("--retries", type=int, default=3, help="how often a disturbed sample is taken again (default 3)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="everything measured, written after each pair")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="the table for a document")
    parser.add_argument("--check", type=pathlib.Path, metavar="FLOORS", help="exit 1 when a ratio lies below its floor in this JSON file")
    args = parser.parse_args(arguments)

    def listed(text, legal, what):
        found = [n.strip() for n in text.split(",") if n.strip()]
        for name in found:
            if name not in legal:
                parser.error(f"unknown {what} {name}: one of {', '.join(legal)}")
        return found

    args.peers = names if args.peers == "all" else [] if args.peers == "none" else listed(args.peers, names, "peer")
    args.ops = listed(args.ops, list(SHAPES), "operation")
    try:
        args.threads = [int(n) for n in args.threads.split(",")]
    except ValueError:
        parser.error(f"--threads {args.threads}: numbers, comma-separated")
    cpus = len(os.sched_getaffinity(0))
    if not all(1 <= n <= cpus for n in args.threads):
        parser.error(f"--threads {','.join(map(str, args.threads))}: this process may use {cpus} CPUs")
    if min(args.rounds, args.cold_mib) < 1 or args.seconds <= 0:
        parser.error("counts are 1 or more")
    args.added = []
    for file in args.add:
        try:
            args.added.append(json.loads(file.read_text()))
        except (OSError, ValueError) as error:
            parser.error(f"--add {file}: {error}")
    args.floors = None
    if args.check:
        try:
            args.floors = json.loads(args.check.read_text())["kernels"]
            kernel_table.check_floors(args.floors, [])
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"--check {args.check}: {error}")
    return args


def main(arguments=None) -> int:
    known = samplers.discover()
    args = parse(arguments, [name for name, kind in known.items() if not kind.is_ours])
    signal.signal(signal.SIGTERM, signal.default_int_handler)     # as Ctrl-C: what was measured is kept
    options = Options(root=args.root.resolve(), kernel_bench=args.kernel_bench.resolve(), isa=args.isa, log=say)
    facts, versions, reasons, rows, limits, status = machine.describe(REPOSITORY), {}, [], [], [], 0
    mine, peers = (install([kind(options) for name, kind in known.items() if args.peers and chosen(name, kind)], versions, reasons)
                   for chosen in (lambda name, kind: kind.is_ours, lambda name, kind: name in args.peers))
    if args.peers and not mine:
        return 1
    rows = make_rows(peers, args.threads, args.only, args.ops)
    care, sides = Care(args.retries, args.patience), {}

    def document() -> str:
        return json.dumps({"machine": facts, "versions": versions, "limits": limits, "rows": kernel_table.as_json(rows), "unavailable": reasons}, indent=1) + "\n"

    def both(row: Row) -> list[Side]:
        """Processes of ours and of the row's peer; those of others end, as each holds a gibibyte."""
        wanted = {(s.name, row.threads): s for s in (*mine, *peers) if s.is_ours or s.name == row.peer}
        for key in set(sides) - set(wanted):
            sides.pop(key).close()
        return [sides.setdefault(key, Side(sampler, row.threads)) for key, sampler in wanted.items()]

    try:
        if args.limits:
            say("limits of this machine")
            limits = machine.limits(args.limits, args.threads)
        start = time.monotonic()
        for index, row in enumerate(rows):
            left = clock((time.monotonic() - start) / index * (len(rows) - index)) if index else "?"
            say(f"{index + 1}/{len(rows)}  {row.pair.op} {row.pair.ours} / {row.peer} {row.pair.case}  {row.shape}  {row.threads} threads  {left} left")
            measure(row, *both(row), args.rounds, args.seconds, args.cold_mib << 20, care)
            row.limit = kernel_table.limit_of(row, limits)
            if args.json:
                args.json.write_text(document())
    except KeyboardInterrupt:
        say("interrupted: the table holds what was measured")
        status = 130
    finally:
        for one in sides.values():
            one.close()
    for other in args.added:
        rows += kernel_table.from_json(other["rows"])
        limits += other["limits"]
        versions |= other["versions"]
    head, body = header(facts, versions, limits, args), kernel_table.lines(rows)
    remarks = kernel_table.notes(rows) + reasons
    print("\n".join([*head, "", table.plain(body), "", *remarks]))
    if args.json:
        args.json.write_text(document())
    if args.markdown:
        args.markdown.write_text("\n".join([*(line + "  " for line in head), "", table.markdown(body), "", *(f"- {line}" for line in remarks)]) + "\n")
    if args.floors is not None and status == 0:
        broken = kernel_table.check_floors(args.floors, rows)
        for line in broken:
            say(f"below its floor: {line}")
        status = 1 if broken else 0
    return status


if __name__ == "__main__":
    sys.exit(main())
