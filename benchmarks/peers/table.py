"""From samples to rows, from rows to ratios, text and floors. Nothing here runs a program, so all of it is tested."""
import dataclasses
import statistics

# figure -> (heading, larger is better)
FIGURES = {
    "prefill": ("prefill tok/s", True),
    "decode": ("decode tok/s", True),
    "first_token_s": ("first token s", False),
    "perplexity_tok_s": ("perplexity tok/s", True),
    "quantize_s": ("quantize s", False),
}
NEAR = 0.03     # two variants have equal bits when they differ by at most this share


@dataclasses.dataclass
class Cell:
    """One figure of one row. Samples that ran while something else took the CPU count only where there is no clean one."""
    clean: list[float] = dataclasses.field(default_factory=list)
    disturbed: list[float] = dataclasses.field(default_factory=list)

    @property
    def values(self) -> list[float]:
        return self.clean or self.disturbed

    @property
    def is_clean(self) -> bool:
        return bool(self.clean)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclasses.dataclass
class Row:
    program: str
    variant: str
    bits: float
    weight_bytes: int
    threads: int
    is_ours: bool = False
    cells: dict[str, Cell] = dataclasses.field(default_factory=dict)
    peak_bytes: int = 0
    dropped: int = 0                    # samples thrown away because they were not clean
    reason: str = ""                    # why there is no figure

    def add(self, values: dict[str, float], peak_bytes: int, clean: bool) -> None:
        for name, value in values.items():
            cell = self.cells.setdefault(name, Cell())
            (cell.clean if clean else cell.disturbed).append(value)
        self.peak_bytes = max(self.peak_bytes, peak_bytes)


@dataclasses.dataclass(frozen=True)
class Ratio:
    """How much faster ours is than a peer's row; `equal_bits` tells whether the bits differ by no more than NEAR."""
    figure: str
    value: float
    ours: str
    equal_bits: bool
    is_clean: bool = True


def partner(row: Row, rows: list[Row], figure: str) -> Row | None:
    """Ours beside a peer's row: at equal threads, the best of those with equal bits, or else the one with the nearest bits."""
    ours = [r for r in rows if r.is_ours and r.threads == row.threads and figure in r.cells and r.cells[figure].values]
    if not ours:
        return None
    if figure == "quantize_s" or not row.bits:
        return best(ours, figure)
    equal = [r for r in ours if equal_bits(r, row)]
    if equal:
        return best(equal, figure)
    return min(ours, key=lambda r: abs(r.bits / row.bits - 1))


def best(rows: list[Row], figure: str) -> Row:
    return (max if FIGURES[figure][1] else min)(rows, key=lambda r: r.cells[figure].median)


def equal_bits(a: Row, b: Row) -> bool:
    return b.bits > 0 and abs(a.bits / b.bits - 1) <= NEAR


def ratios(row: Row, rows: list[Row]) -> dict[str, Ratio]:
    """By figure, ours over this peer's row, above 1 where ours is faster."""
    found = {}
    if row.is_ours:
        return found
    for figure, cell in row.cells.items():
        if figure not in FIGURES or not cell.values or not (mine := partner(row, rows, figure)):
            continue
        value = mine.cells[figure].median / cell.median
        found[figure] = Ratio(figure, value if FIGURES[figure][1] else 1 / value, mine.variant, figure == "quantize_s" or equal_bits(mine, row),
                              cell.is_clean and mine.cells[figure].is_clean)
    return found


def read_share(row: Row, bandwidth: float | None) -> float | None:
    """Of the memory's read bandwidth, how much decode uses when every weight byte is read once a token."""
    if not bandwidth or "decode" not in row.cells or not row.cells["decode"].values:
        return None
    return row.cells["decode"].median * row.weight_bytes / bandwidth


# --- floors: ratios that must not be lost
def check_floors(floors: list[dict], rows: list[Row], bandwidth: dict[int, float]) -> list[str]:
    """One line for every floor that a measured ratio lies below. A floor whose rows were not measured, or never undisturbed, says nothing.

    {"program": "llama.cpp", "variant": "Q4_0", "figure": "decode", "threads": 2, "ours": "r4", "at_least": 1.8}
    {"limit": "read", "variant": "r4", "threads": 2, "at_least": 0.7}
    "ours" names the variant of ours; without it the partner of the table is taken. A missing "threads" means all that were measured.
    """
    broken = []
    for floor in floors:
        unknown = set(floor) - {"program", "variant", "figure", "threads", "ours", "at_least", "limit"}
        if unknown or "at_least" not in floor or not ({"limit", "program"} & set(floor)):
            raise ValueError(f"floor {floor}: " + (f"unknown {', '.join(sorted(unknown))}" if unknown else "needs at_least, and program or limit"))
        for row in rows:
            if row.is_ours != ("limit" in floor) or floor.get("threads", row.threads) != row.threads or floor.get("variant", row.variant) != row.variant:
                continue
            if "limit" in floor:
                clean = "decode" in row.cells and row.cells["decode"].is_clean
                value = read_share(row, bandwidth.get(row.threads)) if clean else None
                what = f"{row.variant} decode of the memory's read bandwidth"
            else:
                if row.program != floor["program"]:
                    continue
                value, what = ratio_of(row, rows, floor)
            if value is not None and value < floor["at_least"]:
                broken.append(f"{what}, {row.threads} threads: {value:.3f} is below its floor {floor['at_least']}")
    return broken


def ratio_of(row: Row, rows: list[Row], floor: dict) -> tuple[float | None, str]:
    figure = floor.get("figure", "decode")
    if floor.get("ours"):
        rows = [r for r in rows if not r.is_ours or r.variant == floor["ours"]]
    found = ratios(row, rows).get(figure)
    if found and not found.is_clean:
        return None, ""
    return (found.value, f"{found.ours} to {row.program} {row.variant} in {figure}") if found else (None, "")


# --- text
def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def cell_text(row: Row, figure: str) -> str:
    cell = row.cells.get(figure)
    if not cell or not cell.values:
        return "-"
    spread = f" ({number(min(cell.values))}-{number(max(cell.values))})" if len(cell.values) > 1 else ""
    return number(cell.median) + spread + ("" if cell.is_clean else "!")


def ratio_text(found: dict[str, Ratio], figure: str) -> str:
    if figure not in found:
        return "-"
    return f"{found[figure].value:.2f}{'' if found[figure].equal_bits else '~'}{'' if found[figure].is_clean else '!'} {found[figure].ours}"


def lines(rows: list[Row], bandwidth: dict[int, float]) -> list[list[str]]:
    """Heading and rows of the table as text cells; columns of figures that nobody has are left out."""
    figures = [f for f in FIGURES if any(f in r.cells for r in rows)]
    share = any(read_share(r, bandwidth.get(r.threads)) for r in rows)
    head = ["program", "variant", "bits/w", "threads"] + [FIGURES[f][0] for f in figures] + ["peak MB"]
    head += (["of read"] if share else []) + [f"ours x, {FIGURES[f][0].rsplit(' ', 1)[0]}" for f in figures]
    body = []
    for row in sorted(rows, key=lambda r: (r.threads, not r.is_ours, r.program, -r.bits, r.variant)):
        if not row.cells:       # unavailable, or not reached before an interrupt
            continue
        found = ratios(row, rows)
        part = read_share(row, bandwidth.get(row.threads))
        body.append([row.program, row.variant, f"{row.bits:.2f}" if row.bits else "-", str(row.threads)] + [cell_text(row, f) for f in figures] +
                    [f"{row.peak_bytes / 1e6:.0f}" if row.peak_bytes else "-"] + ([f"{part:.2f}" if part else "-"] if share else []) +
                    [ratio_text(found, f) for f in figures])
    return [head, *body]


def reasons(rows: list[Row]) -> list[str]:
    """One line for every program or variant without figures."""
    found = []
    for row in rows:
        line = f"{row.program}{' ' + row.variant if row.variant else ''}: {row.reason}"
        if row.reason and line not in found:
            found.append(line)
    return found


def notes(rows: list[Row]) -> list[str]:
    found = []
    cells = [cell for row in rows for cell in row.cells.values()]
    if not all(cell.is_clean for cell in cells):
        found.append("! something else took more than a tenth of the machine during every sample, after every retry: this figure is too low by an unknown part")
    if any(not r.equal_bits for row in rows for r in ratios(row, rows).values()):
        found.append(f"~ the nearest of ours differs by more than {NEAR:.0%} in bits per weight")
    unreached = sum(not row.cells and not row.reason for row in rows)
    if unreached:
        found.append(f"{unreached} rows were not reached")
    dropped = sum(row.dropped for row in rows)
    if dropped:
        found.append(f"{dropped} samples were dropped and taken again because something else ran")
    return found


def plain(table: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in table)


def markdown(table: list[list[str]]) -> str:
    def line(cells):
        return "| " + " | ".join(cells) + " |"
    return "\n".join([line(table[0]), "|---|---|" + "---:|" * (len(table[0]) - 2), *map(line, table[1:])])


def as_json(rows: list[Row]) -> list[dict]:
    return [{**{k: v for k, v in dataclasses.asdict(row).items() if k != "cells"},
             "figures": {name: {"median": cell.median, "min": min(cell.values), "max": max(cell.values), "clean": cell.clean, "disturbed": cell.disturbed}
                         for name, cell in row.cells.items() if cell.values},
             "ratios": {name: dataclasses.asdict(r) for name, r in ratios(row, rows).items()}} for row in rows]
