#!/usr/bin/env python3
"""Halftone beside its peers: the same model, threads and protocol, samples interleaved in one run.

Every peer is installed once into --root (its own Python environment, its own converted models), then measured in rounds: in each round
every (program, variant, threads) takes one sample, in an order that turns by round. A sample during which something else took more than
a tenth of the machine is dropped and taken again, up to three times. docs/performance.md says what every column means.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import drivers
import machine
import table
from drivers import MEASURES, Options, Peer, Sample, Source, Unavailable, Variant
from drivers.process import wait_for_quiet

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
OTHERS = 0.1            # share of the machine that others may take during a clean sample
EXAMPLES = """examples:
  bench.py ~/.cache/halftone/smollm2-fp --ours out/smollm2-rtn4 out/smollm2-rtn8
  bench.py smollm2-fp --ours out/r4 --peers llama.cpp,openvino --threads 2 --rounds 3 --markdown table.md
  bench.py smollm2-fp --ours out/r4 --what speed,first-token,perplexity --data data --limits build/release/bin/limits
  bench.py smollm2-fp --peers gptqmodel --what quantize --data data --threads 2
  bench.py smollm2-fp --ours out/r4 --peers llama.cpp --check benchmarks/peers/floors.json      (exit code 1 when a ratio fell)
"""


@dataclasses.dataclass
class Task:
    peer: Peer
    variant: Variant | None     # None: the measure makes its own, as quantize does
    threads: int
    what: str
    row: table.Row
    seconds: float | None = None    # that the last sample took


@dataclasses.dataclass
class Protocol:
    prefill: int = 512
    decode: int = 128
    prompt: int = 16
    windows: int = 2
    samples: int = 16
    length: int = 512

    def words(self, what: str) -> str:
        return {"speed": f"prefill {self.prefill} tokens, decode {self.decode} tokens", "first-token": f"first token after {self.prompt} from a cold start",
                "perplexity": f"{self.windows} windows of 2048 of WikiText-2", "quantize": f"GPTQ on {self.samples} x {self.length} tokens"}[what]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(task: Task, source: Source, protocol: Protocol) -> Sample:
    peer, variant, threads = task.peer, task.variant, task.threads
    if task.what == "speed":
        return peer.speed(variant, source, threads, protocol.prefill, protocol.decode)
    if task.what == "first-token":
        return peer.first_token(variant, source, threads, protocol.prompt)
    if task.what == "perplexity":
        return peer.perplexity(variant, source, threads, protocol.windows)
    return peer.quantize(source, threads, protocol.samples, protocol.length)


@dataclasses.dataclass
class Care:
    """What is done for clean samples."""
    retries: int = 3
    patience_s: float = 30
    quiet: object = wait_for_quiet


def take(task: Task, source: Source, protocol: Protocol, care: Care) -> None:
    """One sample into the task's row: the first clean one, or the least disturbed of all tries, marked."""
    tries: list[Sample] = []
    for attempt in range(1 if task.what == "quantize" else care.retries + 1):
        if attempt:
            task.row.dropped += 1
            care.quiet(care.patience_s)
        start = time.monotonic()
        tries.append(measure(task, source, protocol))
        task.seconds = time.monotonic() - start
        if tries[-1].usage.others_share <= OTHERS:
            break
    sample = min(tries, key=lambda s: s.usage.others_share)
    keeps_peak = task.what in ("speed", "quantize")     # the others need more, and are not what the column says
    task.row.add(sample.values, sample.usage.peak_bytes if keeps_peak else 0, sample.usage.others_share <= OTHERS)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def left(tasks: list[Task], rounds: int, round_index: int, done: int) -> str:
    known = [t.seconds for t in tasks if t.seconds is not None]
    if not known:
        return "?"
    mean = sum(known) / len(known)
    each = [t.seconds if t.seconds is not None else mean for t in tasks]
    return clock(sum(each) * (rounds - round_index - 1) + sum(each[done:]))


def rotated(tasks: list[Task], round_index: int, rounds: int) -> list[Task]:
    """Another beginning in every round, so that nobody always follows the same neighbour's heat or always comes first."""
    shift = len(tasks) * round_index // max(1, rounds)
    return tasks[shift:] + tasks[:shift]


def measure_rounds(tasks: list[Task], source: Source, protocol: Protocol, rounds: int, care: Care, after_round) -> None:
    """Fills the rows of the tasks. A task that turns out to be unavailable leaves, with its reason in its row."""
    for index in range(rounds):
        order = rotated([t for t in tasks if index == 0 or t.what != "quantize"], index, rounds)
        for done, task in enumerate(list(order)):
            if task.row.reason:
                continue
            name = task.variant.name if task.variant else ""
            say(f"round {index + 1}/{rounds}  {done + 1}/{len(order)}  {task.what}  {task.peer.name} {name}  {task.threads} threads  "
                f"{left(order, rounds, index, done)} left")
            try:
                take(task, source, protocol, care)
            except Unavailable as reason:
                task.row.reason = f"{task.what}: {reason}"
                say(f"  unavailable: {reason}")
        after_round()


def make_tasks(peers: list[Peer], source: Source, threads: list[int], what: list[str],
               versions: dict[str, str]) -> tuple[list[Task], list[table.Row]]:
    """Installs and prepares; a program that cannot has one row with its reason."""
    tasks, rows = [], []
    for peer in peers:
        wanted = [w for w in what if w in peer.measures]
        if not wanted:
            continue
        try:
            say(f"{peer.name}: preparing")
            versions[peer.name] = peer.install()
            variants = peer.variants(source) if set(wanted) - {"quantize"} else []
        except (Unavailable, OSError, subprocess.CalledProcessError) as reason:
            detail = reason.stderr.strip().splitlines()[-1:] if isinstance(reason, subprocess.CalledProcessError) and reason.stderr else []
            rows.append(table.Row(peer.name, "", 0, 0, 0, peer.is_ours, reason=" ".join([str(reason), *detail])))
            say(f"{peer.name}: unavailable: {reason}")
            continue
        for n in threads:
            for variant in variants:
                row = table.Row(peer.name, variant.name, variant.bits, variant.weight_bytes, n, peer.is_ours)
                rows.append(row)
                tasks += [Task(peer, variant, n, w, row) for w in wanted if w != "quantize"]
            if "quantize" in wanted:
                rows.append(table.Row(peer.name, "GPTQ int4 g64", 0, 0, n, peer.is_ours))
                tasks.append(Task(peer, None, n, "quantize", rows[-1]))
    return tasks, rows


def header(facts: dict, versions: dict[str, str], source: Source, protocol: Protocol, what: list[str], rounds: int,
           bandwidth: dict[int, float]) -> list[str]:
    lines = [f"{source.path.name}, {source.parameters:,} parameters; {facts['cpu']} ({' '.join(facts['flags'])}), {facts['cpus']} CPUs, "
             f"kernel {facts['kernel']}, load {facts['load_average'][0]:.2f} at the start, {facts['date']}",
             "; ".join(v if v.startswith(k) else f"{k}: {v}" for k, v in versions.items()) + (f"; this tree {facts['commit']}" if "commit" in facts else ""),
             "; ".join(protocol.words(w) for w in what) + f"; {rounds} rounds, medians (smallest-largest)"]
    if bandwidth:
        lines.append("memory read, 4 streams: " + ", ".join(f"{b / 1e9:.1f} GB/s with {n} thread{'s' if n > 1 else ''}" for n, b in bandwidth.items()))
    return lines


def parse(arguments, known: dict[str, type]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    release = REPOSITORY / "build" / "release" / "bin"
    peers = [name for name, kind in known.items() if not kind.is_ours]
    parser.add_argument("model", type=pathlib.Path, metavar="MODEL_HF_FOLDER", help="dense Hugging Face folder (config.json, *.safetensors, tokenizer.json)")
    parser.add_argument("--ours", type=pathlib.Path, nargs="+", default=[], metavar="FOLDER", help="folders that halftone quantized from it")
    parser.add_argument("--halftone", type=pathlib.Path, default=release / "halftone", help="the program (default build/release/bin/halftone)")
    parser.add_argument("--peers", default="all", help=f"comma-separated, or all, or none: {', '.join(peers)} (default all)")
    parser.add_argument("--what", default="speed", help=f"comma-separated: {', '.join(MEASURES)} (default speed)")
    parser.add_argument("--threads", default="1,2", help="comma-separated; each program is pinned to that many CPUs (default 1,2)")
    parser.add_argument("--prefill", type=int, default=512, help="tokens read at once from an empty cache (default 512)")
    parser.add_argument("--decode", type=int, default=128, help="tokens written one by one from an empty cache (default 128)")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of the prompt of first-token (default 16)")
    parser.add_argument("--windows", type=int, default=2, help="windows of 2048 tokens of perplexity (default 2)")
    parser.add_argument("--samples", type=int, default=16, help="calibration samples of quantize (default 16)")
    parser.add_argument("--length", type=int, default=512, help="tokens of a calibration sample (default 512)")
    parser.add_argument("--recipe", default="gptq_int4_g64", help="of ours in quantize (default gptq_int4_g64)")
    parser.add_argument("--rounds", type=int, default=5, help="samples of each (default 5); quantize takes one")
    parser.add_argument("--limits", type=pathlib.Path, metavar="PROGRAM", help="build/release/bin/limits: what the machine can do at most, for the column 'of read'")
    parser.add_argument("--data", type=pathlib.Path, default=os.environ.get("HALFTONE_DATA"), help="folder with wikitext2/test.txt (default HALFTONE_DATA)")
    parser.add_argument("--root", type=pathlib.Path, default=REPOSITORY / "build" / "peers", help="where peers are installed (default build/peers)")
    parser.add_argument("--python", help="an interpreter with torch, transformers and sentencepiece; else torch is installed under --root")
    parser.add_argument("--variants", help="comma-separated: only variants with these names (of any program)")
    parser.add_argument("--patience", type=float, default=30, help="seconds to wait for a quiet machine before a sample is taken again (default 30)")
    parser.add_argument("--retries", type=int, default=3, help="how often a sample that others disturbed is taken again (default 3)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="everything measured, written after each round")
    parser.add_argument("--markdown", type=pathlib.Path, metavar="FILE", help="the table for a document")
    parser.add_argument("--check", type=pathlib.Path, metavar="FLOORS", help="exit 1 when a ratio lies below its floor in this JSON file")
    args = parser.parse_args(arguments)

    def listed(text, legal, what):
        names = [n.strip() for n in text.split(",") if n.strip()]
        for name in names:
            if name not in legal:
                parser.error(f"unknown {what} {name}: one of {', '.join(legal)}")
        return names

    args.peers = peers if args.peers == "all" else [] if args.peers == "none" else listed(args.peers, peers, "peer")
    args.what = listed(args.what, MEASURES, "measure")
    try:
        args.threads = [int(n) for n in args.threads.split(",")]
    except ValueError:
        parser.error(f"--threads {args.threads}: numbers, comma-separated")
    cpus = len(os.sched_getaffinity(0))
    if not all(1 <= n <= cpus for n in args.threads):
        parser.error(f"--threads {','.join(map(str, args.threads))}: this process may use {cpus} CPUs")
    if min(args.prefill, args.decode, args.rounds, args.prompt, args.windows, args.samples, args.length) < 1:
        parser.error("counts are 1 or more")
    if not (args.model / "config.json").exists():
        parser.error(f"{args.model} is not a Hugging Face folder: it has no config.json")
    for folder in args.ours:
        if not folder.is_dir():
            parser.error(f"--ours {folder} is not a folder")
    if args.limits and not args.limits.exists():
        parser.error(f"--limits {args.limits} is not there")
    args.floors = None
    if args.check:
        try:
            args.floors = json.loads(args.check.read_text())["floors"]
            table.check_floors(args.floors, [], {})
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"--check {args.check}: {error}")
    return args


def main(arguments=None) -> int:
    known = drivers.discover()
    args = parse(arguments, known)
    signal.signal(signal.SIGTERM, signal.default_int_handler)     # as Ctrl-C: what was measured is kept
    options = Options(root=args.root.resolve(), python=args.python, halftone=args.halftone.resolve(), ours=tuple(f.resolve() for f in args.ours),
                      data=args.data.resolve() if args.data else None, recipe=args.recipe, log=say)
    source = Source.read(args.model)
    protocol = Protocol(args.prefill, args.decode, args.prompt, args.windows, args.samples, args.length)
    facts, versions = machine.describe(REPOSITORY), {}
    peers = [kind(options) for name, kind in known.items() if kind.is_ours or name in args.peers]
    peers.sort(key=lambda p: not p.is_ours)
    rows, tasks, limits, status = [], [], [], 0
    try:
        tasks, rows = make_tasks(peers, source, args.threads, args.what, versions)
        if args.variants:
            chosen = set(args.variants.split(","))
            tasks = [t for t in tasks if t.variant is None or t.variant.name in chosen]
            rows = [r for r in rows if r.reason or any(t.row is r for t in tasks)]
        if args.limits:
            say("limits of this machine")
            limits = machine.limits(args.limits, args.threads)

        def write():
            if args.json:
                args.json.write_text(json.dumps(document(facts, versions, source, protocol, args, rows, limits), indent=1) + "\n")
        measure_rounds(tasks, source, protocol, args.rounds, Care(args.retries, args.patience), write)
    except KeyboardInterrupt:
        say("interrupted: the table holds what was measured")
        status = 130
    finally:
        for peer in peers:
            peer.close_workers()
    bandwidth = {n: b for n in args.threads if (b := machine.read_bandwidth(limits, n))}
    head, body = header(facts, versions, source, protocol, args.what, args.rounds, bandwidth), table.lines(rows, bandwidth)
    print("\n".join([*head, "", table.plain(body), "", *table.notes(rows), *table.reasons(rows)]))
    if args.json:
        args.json.write_text(json.dumps(document(facts, versions, source, protocol, args, rows, limits), indent=1) + "\n")
    if args.markdown:
        bullets = [f"- {line}" for line in (*table.notes(rows), *table.reasons(rows))]
        args.markdown.write_text("\n".join([*(line + "  " for line in head), "", table.markdown(body), "", *bullets]) + "\n")
    if args.floors is not None and status == 0:
        broken = table.check_floors(args.floors, rows, bandwidth)
        for line in broken:
            say(f"below its floor: {line}")
        status = 1 if broken else 0
    return status


def document(facts, versions, source: Source, protocol: Protocol, args, rows, limits) -> dict:
    return {"machine": facts, "versions": versions, "model": {"name": source.path.name, "parameters": source.parameters},
            "protocol": {**dataclasses.asdict(protocol), "rounds": args.rounds, "what": args.what}, "limits": limits, "rows": table.as_json(rows),
            "unavailable": table.reasons(rows)}


if __name__ == "__main__":
    sys.exit(main())
