"""Of kernels.py: what two kernels took at one shape, their ratio, its text and its floors. Nothing here runs a program, so all of it is tested."""
import dataclasses
import statistics

from samplers import Pair
from table import NEAR, Cell, number

KEYS = {"isa", "peer", "op", "ours", "case", "shape", "threads", "at_least"}


@dataclasses.dataclass
class Row:
    peer: str
    pair: Pair
    n: int
    k: int
    m: int
    threads: int
    ours_bytes: int = 0         # state of the weights, scales included
    peer_bytes: int = 0
    ours_path: str = ""         # instruction set
    peer_path: str = ""         # what the peer says ran: a buffer type, a core
    rounds: list[tuple[float, float, bool]] = dataclasses.field(default_factory=list)      # seconds of ours, of the peer's, both undisturbed
    dropped: int = 0            # samples taken again because they were disturbed
    reason: str = ""            # why there is no figure

    @property
    def used(self) -> list[tuple[float, float, bool]]:
        """The clean rounds, or where there is none all of them."""
        return [r for r in self.rounds if r[2]] or self.rounds

    @property
    def is_clean(self) -> bool:
        return any(clean for _, _, clean in self.rounds)

    @property
    def ratios(self) -> list[float]:
        """By round, time of the peer's over time of ours: the weights are as many, so this is time per weight."""
        return [peer / ours for ours, peer, _ in self.used]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def seconds(self, side: int) -> Cell:
        return Cell([r[side] for r in self.used])

    def bits(self, weight_bytes: int) -> float:
        return 8 * weight_bytes / (self.n * self.k)

    @property
    def equal_bits(self) -> bool:
        return abs(self.ours_bytes / self.peer_bytes - 1) <= NEAR

    @property
    def shape(self) -> str:
        return f"{self.n}x{self.k}"

    def rate(self, side: int) -> float:
        """GB/s of the weights' state in decode, GOP/s (a multiply-add is two) in prefill."""
        work = (self.ours_bytes, self.peer_bytes)[side] if self.pair.op == "decode" else 2 * self.n * self.k * self.m
        return work * 1e-9 / self.seconds(side).median


def limit_of(row: Row, limits: list[dict]) -> float | None:
    """The machine's limit that ours stands under, as `limits --json` measured it for the instruction set of ours."""
    name = row.pair.ours
    peak = "f32" if name.split()[0] in ("f16", "f32", "bf16", "exact") else "8-bit codes" if name.split()[0] in ("W5", "W6", "W7", "W8", "nf4", "fp4") else "int8"
    what = "memory, 4 streams" if row.pair.op == "decode" else peak
    found = [r["median"] for r in limits if r["threads"] == row.threads and r["what"] == what and r["isa"] == row.ours_path]
    return found[0] if found else None


def lines(rows: list[Row], limits: list[dict]) -> list[list[str]]:
    share = any(row.rounds and limit_of(row, limits) for row in rows)
    head = ["ours", "peer", "shape", "threads", "bits/w", "peer's", "ours", "peer's", "ours x", "target"] + (["of limit"] if share else [])
    body = []
    for row in sorted(rows, key=lambda r: (r.pair.op, r.threads, r.n * r.k)):
        if not row.rounds:
            continue
        unit = "GB/s" if row.pair.op == "decode" else "GOP/s"
        limit = limit_of(row, limits)
        mark = ("" if row.equal_bits else "~") + ("" if row.is_clean else "!")
        body.append([f"{row.pair.op} {row.pair.ours}", f"{row.peer} {row.pair.case} ({row.peer_path})", f"{row.n} x {row.k}" + (f", M = {row.m}" if row.m > 1 else ""),
                     str(row.threads), f"{row.bits(row.ours_bytes):.3g}", f"{row.bits(row.peer_bytes):.4g}", f"{number(row.rate(0))} {unit}", f"{number(row.rate(1))} {unit}",
                     f"{row.ratio:.2f}{mark} ({min(row.ratios):.2f}-{max(row.ratios):.2f})", f"{row.pair.target:g}" if row.pair.target else "-"] +
                    ([f"{row.rate(0) / limit:.2f}" if limit else "-"] if share else []))
    return [head, *body]


def notes(rows: list[Row]) -> list[str]:
    found, measured = [], [r for r in rows if r.rounds]
    missed = [r for r in measured if r.pair.target and r.ratio < r.pair.target]
    if missed:
        found.append("below target: " + "; ".join(f"{r.pair.op} {r.pair.ours} to {r.peer} {r.pair.case} {r.shape}, {r.threads} threads: {r.ratio:.2f} of {r.pair.target:g}"
                                                  for r in missed))
    if any(not r.equal_bits for r in measured):
        found.append(f"~ the bits per weight differ by more than {NEAR:.0%}")
    if not all(r.is_clean for r in measured):
        found.append("! something else ran during every round, after every retry")
    dropped = sum(r.dropped for r in rows)
    if dropped:
        found.append(f"{dropped} samples were dropped and taken again because something else ran")
    return found + [f"{r.pair.op} {r.pair.ours}, {r.peer} {r.pair.case} {r.shape}, {r.threads} threads: {r.reason}" for r in rows if r.reason]


def check_floors(floors: list[dict], rows: list[Row]) -> list[str]:
    """One line for every floor that a measured ratio lies below. What was not measured, or never undisturbed, says nothing.

    {"isa": "avx2", "peer": "ggml", "op": "decode", "ours": "W4 g32", "case": "Q4_0", "shape": "4096x11008", "threads": 2, "at_least": 1.8}
    "isa" is the instruction set that ours ran on: a floor holds for that kind of machine only. A missing "shape" or "threads" means all.
    """
    broken = []
    for floor in floors:
        unknown = set(floor) - KEYS
        missing = KEYS - {"shape", "threads"} - set(floor)
        if unknown or missing:
            raise ValueError(f"floor {floor}: " + (f"unknown {', '.join(sorted(unknown))}" if unknown else f"needs {', '.join(sorted(missing))}"))
        for row in rows:
            mine = {"isa": row.ours_path, "peer": row.peer, "op": row.pair.op, "ours": row.pair.ours, "case": row.pair.case, "shape": row.shape, "threads": row.threads}
            if any(mine[key] != value for key, value in floor.items() if key != "at_least") or not row.is_clean:
                continue
            if row.ratio < floor["at_least"]:
                broken.append(f"{row.pair.op} {row.pair.ours} to {row.peer} {row.pair.case}, {row.shape}, {row.threads} threads: "
                              f"{row.ratio:.3f} is below its floor {floor['at_least']}")
    return broken


def as_json(rows: list[Row]) -> list[dict]:
    found = []
    for row in rows:
        one = {k: v for k, v in dataclasses.asdict(row).items() if k not in ("pair", "rounds")} | dataclasses.asdict(row.pair)
        if row.rounds:
            one |= {"ratio": row.ratio, "ratios": row.ratios, "ours_rate": row.rate(0), "peer_rate": row.rate(1), "equal_bits": row.equal_bits, "clean": row.is_clean,
                    "rounds": [{"ours_s": a, "peer_s": b, "clean": c} for a, b, c in row.rounds]}
        found.append(one)
    return found
