"""Tests of kernels.py with fake sides, and of its table: no program, no compiler.

    python3 -m unittest discover -s benchmarks/peers
"""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import bench
import kernel_table
import kernels
import samplers
import table
from drivers.peer import Unavailable
from kernel_table import Row
from samplers import Options, Pair, Sampler
from samplers.sampler import SHAPES

PAIR = Pair("decode", "W4 g32", "Q4_0", 2.0)
GEMM = Pair("prefill", "W4 g32", "Q4_0", 2.0)


class Fake:
    """Answers seconds in order; a pair also says whether it was clean, a string is a reason to be unavailable."""

    def __init__(self, name, answers, weight_bytes=1000, order=None):
        self.name, self.answers, self.weight_bytes, self.order, self.asked = name, list(answers), weight_bytes, order if order is not None else [], []

    def prepare(self, case, row, cold_bytes):
        self.asked.append((case, row.n, row.k, row.m, cold_bytes))
        return {"bytes": self.weight_bytes, "path": "avx2" if self.name == "ours" else "CPU_REPACK"}

    def sample(self, seconds):
        self.order.append(self.name)
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            raise Unavailable(answer)
        return answer if isinstance(answer, tuple) else (answer, True)


def measured(ours, peer, rounds=1, care=None, pair=PAIR):
    row, waited, pause = Row("ggml", pair, 64, 32, 1, 2), [], kernels.pause
    kernels.pause = lambda: None
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            kernels.measure(row, ours, peer, rounds, 0.1, 5 << 20, care or bench.Care(3, 5, waited.append))
    finally:
        kernels.pause = pause
    return row, waited


def row(ours_s, peer_s, *, pair=PAIR, threads=2, ours_bytes=4500, peer_bytes=4500, clean=True, n=4096, k=11008, isa="avx2"):
    found = Row("ggml", pair, n, k, 512 if pair.op == "prefill" else 1, threads, ours_bytes, peer_bytes, isa, "CPU_REPACK")
    found.rounds = [(a, b, clean) for a, b in zip(ours_s, peer_s)]
    return found


class Rounds(unittest.TestCase):
    def test_sides_alternate_and_each_round_begins_with_the_other(self):
        order = []
        found, _ = measured(Fake("ours", [1, 2, 3], order=order), Fake("peer", [2, 6, 12], order=order), rounds=3)
        self.assertEqual(order, ["ours", "peer", "peer", "ours", "ours", "peer"])
        self.assertEqual(found.ratios, [2, 3, 4])
        self.assertEqual(found.ratio, 3)

    def test_both_prepare_their_own_case_at_one_shape(self):
        ours, peer = Fake("ours", [1]), Fake("peer", [1], weight_bytes=1100)
        found, _ = measured(ours, peer)
        self.assertEqual((ours.asked, peer.asked), ([("W4 g32", 64, 32, 1, 5 << 20)], [("Q4_0", 64, 32, 1, 5 << 20)]))
        self.assertEqual((found.ours_bytes, found.peer_bytes, found.ours_path, found.peer_path), (1000, 1100, "avx2", "CPU_REPACK"))

    def test_a_disturbed_sample_is_taken_again_after_waiting(self):
        found, waited = measured(Fake("ours", [(9, False), 1]), Fake("peer", [2]))
        self.assertEqual((found.rounds, found.dropped, waited), ([(1, 2, True)], 1, [5]))

    def test_a_round_that_never_was_clean_counts_only_without_a_clean_one(self):
        found, _ = measured(Fake("ours", [(9, False), 1]), Fake("peer", [2, 3]), rounds=2, care=bench.Care(retries=0))
        self.assertEqual((found.ratios, found.is_clean), ([3], True))
        found, _ = measured(Fake("ours", [(1, False)]), Fake("peer", [2]), care=bench.Care(retries=0))
        self.assertEqual((found.ratios, found.is_clean), ([2], False))

    def test_a_case_that_a_program_has_not_leaves_its_reason(self):
        found, _ = measured(Fake("ours", [1]), Fake("peer", ["ggml: no type Q9"]))
        self.assertEqual((found.reason, found.rounds), ("ggml: no type Q9", []))
        self.assertEqual(len(kernel_table.lines([found])), 1)
        self.assertIn("no type Q9", kernel_table.notes([found])[0])

    def test_rows_are_threads_times_pairs_times_shapes(self):
        class One(Sampler):
            name = "one"
            pairs = (PAIR, GEMM)
        known = [One(Options(pathlib.Path("/r"), pathlib.Path("/k")))]
        rows = kernels.make_rows(known, [1, 2], "", ["decode", "prefill"])
        self.assertEqual(len(rows), 2 * (len(SHAPES["decode"]) + len(SHAPES["prefill"])))
        self.assertEqual({r.m for r in rows if r.pair is PAIR}, {1})
        self.assertEqual({(r.m, r.shape) for r in kernels.make_rows(known, [1], "2048x2048", ["prefill"])}, {(512, "2048x2048")})

    def test_a_program_that_does_not_build_is_a_reason(self):
        class Broken(Sampler):
            name = "broken"

            def install(self):
                raise Unavailable("no compiler")
        reasons = []
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(kernels.install([Broken(Options(pathlib.Path("/r"), pathlib.Path("/k")))], {}, reasons), [])
        self.assertEqual(reasons, ["broken: no compiler"])


class Figures(unittest.TestCase):
    def test_rates_are_bytes_of_weights_or_operations_in_a_second(self):
        self.assertAlmostEqual(row([0.001], [0.002], ours_bytes=10**7).rate(0), 10)
        found = row([0.5], [1.0], pair=GEMM, n=1000, k=1000)
        self.assertAlmostEqual(found.rate(0), 2 * 1000 * 1000 * 512 / 0.5 * 1e-9)
        self.assertEqual(found.rate(0), 2 * found.rate(1))

    def test_bits_and_whether_they_are_equal(self):
        found = row([1], [1], ours_bytes=4096 * 11008 * 9 // 16, peer_bytes=4096 * 11008 * 9 // 16)
        self.assertEqual(found.bits(found.ours_bytes), 4.5)
        self.assertTrue(row([1], [1], ours_bytes=1029, peer_bytes=1000).equal_bits)
        self.assertFalse(row([1], [1], ours_bytes=1031, peer_bytes=1000).equal_bits)

    def test_the_limit_is_of_the_operation_the_codes_and_the_instruction_set(self):
        limits = [{"isa": isa, "threads": 2, "what": what, "median": value} for isa, add in (("avx2", 0), ("avx512vnni", 100))
                  for what, value in (("memory, 4 streams", 40 + add), ("int8", 500 + add), ("8-bit codes", 250 + add), ("f32", 150 + add))]
        for name, op, isa, value in (("W4 g32", "decode", "avx2", 40), ("W4 g32", "prefill", "avx2", 500), ("W8 g32", "prefill", "avx2", 250),
                                     ("nf4 g64", "prefill", "avx2", 250), ("f16", "prefill", "avx2", 150), ("W4 g32", "prefill", "avx512vnni", 600)):
            self.assertEqual(kernel_table.limit_of(row([1], [1], pair=Pair(op, name, "x", None), isa=isa), limits), value)
        self.assertIsNone(kernel_table.limit_of(row([1], [1], threads=1), limits))

    def test_limits_of_several_runs_are_a_range(self):
        one = {"isa": "avx2", "threads": 2, "what": "int8", "median": 500, "unit": "GOP/s"}
        self.assertEqual(kernel_table.limit_lines([one, {**one, "median": 400}, {**one, "what": "memory, 1 stream"}]), ["limits, avx2, 2 threads: int8 400 to 500 GOP/s"])

    def test_the_share_of_the_limit_is_a_column_where_it_was_measured(self):
        found = row([0.001], [0.002], ours_bytes=10**7, peer_bytes=10**7)
        found.limit = 20
        self.assertEqual(kernel_table.lines([found])[1][4:7], ["10 GB/s", "5", "0.50"])

    def test_text(self):
        rows = [row([0.001, 0.001], [0.0015, 0.0018]), row([1], [3], pair=GEMM, ours_bytes=3000, clean=False)]
        text = table.plain(kernel_table.lines(rows))
        self.assertIn("1.65 (1.50-1.80)", text)
        self.assertIn("3.00~! (3.00-3.00)", text)
        self.assertIn("ggml Q4_0 (CPU_REPACK)", text)
        rows.append(row([2], [2], threads=1))
        self.assertEqual([len(line) for line in kernel_table.lines(rows)], [11, 11, 11])      # a pair at one shape is one line
        self.assertEqual(kernel_table.lines(rows)[2][4:7], ["-", "-", "-"])
        remarks = kernel_table.notes(rows)
        self.assertEqual([line[0] for line in remarks], ["b", "~", "!"])
        self.assertIn("2 threads: 1.65 of 2", remarks[0])
        found = json.loads(json.dumps(kernel_table.as_json(rows)))
        self.assertEqual((found[1]["ratio"], found[1]["case"], found[1]["clean"]), (3.0, "Q4_0", False))
        self.assertEqual(kernel_table.from_json(found), rows)


class Floors(unittest.TestCase):
    floor = {"isa": "avx2", "peer": "ggml", "op": "decode", "ours": "W4 g32", "case": "Q4_0", "at_least": 1.8}

    def check(self, one, **floor):
        return kernel_table.check_floors([{**self.floor, **floor}], [one])

    def test_above_and_below(self):
        self.assertEqual(self.check(row([1], [1.9])), [])
        self.assertEqual(self.check(row([1], [1.7])), ["decode W4 g32 to ggml Q4_0, 4096x11008, 2 threads: 1.700 is below its floor 1.8"])

    def test_a_floor_is_of_one_instruction_set(self):
        self.assertEqual(self.check(row([1], [1.7], isa="avx512vnni")), [])

    def test_threads_and_shape_choose(self):
        self.assertEqual(self.check(row([1], [1.7]), threads=1), [])
        self.assertEqual(self.check(row([1], [1.7]), shape="2048x2048"), [])
        self.assertEqual(len(self.check(row([1], [1.7]), shape="4096x11008", threads=2)), 1)

    def test_a_disturbed_ratio_decides_nothing(self):
        self.assertEqual(self.check(row([1], [1.7], clean=False)), [])

    def test_a_floor_that_means_nothing_is_refused(self):
        with self.assertRaisesRegex(ValueError, "unknown pier"):
            self.check(row([1], [1]), pier="x")
        with self.assertRaisesRegex(ValueError, "needs isa"):
            kernel_table.check_floors([{k: v for k, v in self.floor.items() if k != "isa"}], [])

    def test_the_committed_floors_name_pairs_that_are_measured(self):
        floors = json.loads((bench.HERE / "floors.json").read_text())["kernels"]
        kernel_table.check_floors(floors, [])
        known = {(kind.name, p.op, p.ours, p.case, f"{n}x{k}") for kind in samplers.discover().values() for p in kind.pairs for n, k in SHAPES[p.op]}
        for floor in floors:
            wanted = tuple(floor.get(key) for key in ("peer", "op", "ours", "case", "shape"))
            self.assertTrue(any(all(w in (None, k) for w, k in zip(wanted, one)) for one in known), floor)


class Samplers(unittest.TestCase):
    def test_every_file_is_a_sampler_and_one_is_ours(self):
        known = samplers.discover()
        self.assertEqual([n for n, k in known.items() if k.is_ours], ["halftone"])
        self.assertIn("ggml", known)
        self.assertTrue(all(p.op in SHAPES for k in known.values() for p in k.pairs))

    def test_openblas_chooses_its_kernel_itself_and_threads_stay(self):
        import os
        os.environ["OPENBLAS_CORETYPE"] = "Prescott"
        try:
            found = Sampler(Options(pathlib.Path("/r"), pathlib.Path("/k"))).environment(1)
        finally:
            del os.environ["OPENBLAS_CORETYPE"]
        self.assertNotIn("OPENBLAS_CORETYPE", found)
        self.assertEqual((found["OPENBLAS_NUM_THREADS"], found["OMP_PLACES"].count("{")), ("1", 1))

    def test_command_line_is_refused_with_one_clear_line(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = pathlib.Path(folder, "floors.json")
            bad.write_text('{"kernels": [{"isa": "avx2"}]}')
            for arguments, text in ((["--peers", "gml"], "unknown peer gml: one of ggml"), (["--ops", "train"], "unknown operation train"), (["--threads", "x"], "--threads x"),
                                    (["--threads", "99999"], "this process may use"), (["--rounds", "0"], "1 or more"), (["--check", str(bad)], "needs at_least")):
                errors = io.StringIO()
                with contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as stopped:
                    kernels.parse(arguments, ["ggml"])
                self.assertEqual(stopped.exception.code, 2)
                self.assertIn(text, errors.getvalue())


if __name__ == "__main__":
    unittest.main()
