#!/usr/bin/env python3
"""Draws the kernels of a CPU under its roofs, from what kernel_bench --json wrote.

    build/release/bin/kernel_bench --threads 2 --json kernels.json
    python3 benchmarks/roofline.py kernels.json docs/roofline.svg

x: operations (a multiply-add is two) for each byte of weights; y: operations a second. The slope is
reading memory in 4 streams, the lines are the peak loops of the same multiply-adds, all as measured
beside the kernels in the same process. A GEMV reads its weights from memory and lies under the slope;
a GEMM finds them in the cache and lies under its line. Needs matplotlib.
"""

import argparse
import json
import math
import statistics

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

KINDS = [  # name of the peak, colour, and the kernels that it bounds
    ("int8 products", "#1f77b4", lambda k: "exact" not in k and (" W1" in k or " W2" in k or " W3" in k or " W4" in k)),
    ("products of 8-bit codes", "#2ca02c", lambda k: "exact" not in k and any(t in k for t in (" W5", " W6", " W8", "nf4", "fp4"))),
    ("f32 multiply-adds", "#d62728", lambda k: "exact" in k or any(t in k for t in (" f32", " f16", " bf16"))),
]


def kind_of(kernel):
    return next((i for i, kind in enumerate(KINDS) if kind[2](kernel)), None)


def draw(axes, rows, title):
    reads = [r["limit_median"] for r in rows if r["unit"] == "GB/s"]
    read = statistics.median(reads)
    xs = [r["operations"] / r["bytes"] for r in rows]
    low, high = min(xs) / 2, max(xs) * 2
    labelled = []  # places of labels: one that would cover another is left out (the table has them all)
    top = 0.0
    axes.plot([low, high], [low * read, high * read], color="#555555", lw=1, label=f"memory, {read:.0f} GB/s")
    for i, (name, colour, _) in enumerate(KINDS):
        mine = [r for r in rows if kind_of(r["kernel"]) == i]
        peaks = [r["limit_median"] for r in mine if r["unit"] == "GOP/s"]
        if peaks:
            peak = statistics.median(peaks)
            top = max(top, peak)
            axes.axhline(peak, color=colour, lw=1, ls="--", label=f"{name}, {peak:,.0f} GOP/s")
        for r in mine:
            x = r["operations"] / r["bytes"]
            y = r["median"] * x if r["unit"] == "GB/s" else r["median"]
            axes.plot(x, y, "o", ms=4, color=colour)
            if any(abs(math.log(x / a)) < 0.7 and abs(math.log(y / b)) < 0.13 for a, b in labelled):
                continue
            labelled.append((x, y))
            label = r["kernel"].replace("gemv ", "").replace("gemm ", "")
            axes.annotate(label, (x, y), fontsize=6, xytext=(3, -2), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(5, 3 * top), title=title, xlabel="operations / byte of weights", ylabel="GOP/s")
    axes.grid(True, which="major", lw=0.3)
    axes.legend(fontsize=6, loc="lower right")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kernels", help="what kernel_bench --json wrote")
    parser.add_argument("out", help="picture to write (.svg)")
    parser.add_argument("--threads", type=int, help="only this number of threads (default: the largest there)")
    args = parser.parse_args()
    with open(args.kernels, encoding="utf-8") as file:
        data = json.load(file)
    threads = args.threads or max(r["threads"] for r in data["rows"])
    rows = [r for r in data["rows"] if r["threads"] == threads]
    isas = [isa for isa in dict.fromkeys(r["isa"] for r in rows) if any(r["isa"] == isa and r["unit"] == "GB/s" for r in rows)]
    figure, all_axes = plt.subplots(1, len(isas), figsize=(6.5 * len(isas), 5), squeeze=False)
    for axes, isa in zip(all_axes[0], isas):
        draw(axes, [r for r in rows if r["isa"] == isa], f"{isa}, {threads} threads")
    figure.suptitle(data["cpu"], fontsize=9)
    figure.tight_layout()
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
