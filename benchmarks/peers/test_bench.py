"""Tests of what runs on the host, with a fake peer: no program, no network, no model.

    python3 -m unittest discover -s benchmarks/peers

Run by hand, as the bench itself is; ctest knows only compiled tests.
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
import drivers
import machine
import table
from drivers import Options, Peer, Sample, Source, Unavailable, Variant
from drivers.process import Usage, Watch, first_cpus, run
from drivers.llama_cpp import stamped
from drivers.peer import last_words

SOURCE = Source(pathlib.Path("/m"), 1000, (256,), 100, 1)


def usage(others_s=0.0, wall_s=1.0, peak=0):
    return Usage(wall_s, 1.0, others_s, 2, peak)


class Fake(Peer):
    """Answers what it was told to, in order; a string is a reason to be unavailable."""

    def __init__(self, name, bits, answers, ours=False):
        super().__init__(Options(root=pathlib.Path("/nowhere")))
        self.name, self.is_ours, self.answers, self.asked = name, ours, list(answers), []
        self.one = Variant("v", pathlib.Path("/v"), int(bits * 1000 / 8), bits)

    def install(self):
        return "1.0"

    def variants(self, source):
        return [self.one]

    def speed(self, variant, source, threads, prefill, decode):
        self.asked.append((threads, prefill, decode))
        answer = self.answers.pop(0)
        if isinstance(answer, str):
            raise Unavailable(answer)
        if isinstance(answer, type):
            raise answer()
        decode_rate, others = answer if isinstance(answer, tuple) else (answer, 0.0)
        return Sample({"prefill": 10.0 * decode_rate, "decode": float(decode_rate)}, usage(others, peak=int(decode_rate)))


def measured(peers, rounds=1, threads=(1,), care=None, what=("speed",)):
    waited = []
    care = care or bench.Care(3, 5, waited.append)
    with contextlib.redirect_stderr(io.StringIO()):
        tasks, rows = bench.make_tasks(peers, SOURCE, list(threads), list(what), {})
        bench.measure_rounds(tasks, SOURCE, bench.Protocol(), rounds, care, lambda: None)
    return rows, waited


def row(program, variant, bits, decode, ours=False, threads=2, **more):
    found = table.Row(program, variant, bits, int(bits * 1000), threads, ours)
    found.add({"decode": decode, **more}, 0, True)
    return found


class Rounds(unittest.TestCase):
    def test_every_round_takes_one_sample_of_each_with_the_protocol(self):
        peers = [Fake("a", 4, [1, 2, 3]), Fake("b", 4, [4, 5, 9])]
        rows, _ = measured(peers, rounds=3)
        self.assertEqual([r.cells["decode"].values for r in rows], [[1, 2, 3], [4, 5, 9]])
        self.assertEqual(rows[1].cells["decode"].median, 5)
        self.assertEqual(peers[0].asked, [(1, 512, 128)] * 3)

    def test_the_order_turns_by_round_and_loses_nobody(self):
        orders = [bench.rotated(list("abcd"), i, 4) for i in range(4)]
        self.assertEqual([o[0] for o in orders], list("abcd"))
        self.assertTrue(all(sorted(o) == list("abcd") for o in orders))

    def test_a_disturbed_sample_is_dropped_and_taken_again_after_waiting(self):
        rows, waited = measured([Fake("a", 4, [(7, 0.5), (8, 0.3), 9])])
        cell = rows[0].cells["decode"]
        self.assertEqual((cell.clean, cell.disturbed, rows[0].dropped, waited), ([9], [], 2, [5, 5]))

    def test_what_never_gets_clean_is_the_least_disturbed_and_marked(self):
        rows, _ = measured([Fake("a", 4, [(7, 0.9), (8, 0.3), (9, 0.8), (10, 0.7)])])
        cell = rows[0].cells["decode"]
        self.assertEqual((cell.clean, cell.disturbed, rows[0].dropped), ([], [8], 3))
        self.assertEqual(table.cell_text(rows[0], "decode"), "8!")
        self.assertTrue(any(line.startswith("! ") for line in table.notes(rows)))

    def test_disturbed_samples_count_only_without_a_clean_one(self):
        rows, _ = measured([Fake("a", 4, [(3, 0.9), 9])], rounds=2, care=bench.Care(retries=0))
        cell = rows[0].cells["decode"]
        self.assertEqual((cell.median, cell.is_clean, cell.disturbed), (9, True, [3]))

    def test_a_tenth_of_the_whole_machine_is_still_clean(self):
        self.assertEqual(usage(0.2).others_share, 0.1)      # 0.2 s of 1 s x 2 CPUs
        rows, _ = measured([Fake("a", 4, [(7, 0.2)])])
        self.assertEqual(rows[0].dropped, 0)

    def test_unavailable_leaves_its_reason_and_the_others_go_on(self):
        rows, _ = measured([Fake("a", 4, ["no such kernel"]), Fake("b", 4, [1, 2])], rounds=2)
        self.assertEqual(rows[0].reason, "speed: no such kernel")
        self.assertEqual(rows[1].cells["decode"].values, [1, 2])
        self.assertEqual(table.reasons(rows), ["a v: speed: no such kernel"])
        self.assertEqual([line[0] for line in table.lines(rows, {})], ["program", "b"])

    def test_a_peer_that_does_not_install_is_one_row_with_its_reason(self):
        class Broken(Fake):
            def install(self):
                raise Unavailable("pip: no wheel")
        rows, _ = measured([Broken("a", 4, [])], threads=(1, 2))
        self.assertEqual(table.reasons(rows), ["a: pip: no wheel"])

    def test_a_peer_without_the_measure_is_not_installed(self):
        class Untouched(Fake):
            def install(self):
                raise AssertionError("installed")
        rows, _ = measured([Untouched("a", 4, [])], what=("quantize",))
        self.assertEqual(rows, [])

    def test_an_interrupt_keeps_what_was_measured(self):
        peer = Fake("a", 4, [3, KeyboardInterrupt])
        with contextlib.redirect_stderr(io.StringIO()):
            tasks, rows = bench.make_tasks([peer], SOURCE, [1], ["speed"], {})
            with self.assertRaises(KeyboardInterrupt):
                bench.measure_rounds(tasks, SOURCE, bench.Protocol(), 2, bench.Care(), lambda: None)
        self.assertEqual(rows[0].cells["decode"].values, [3])

    def test_a_row_that_was_not_reached_is_counted_and_not_shown(self):
        rows = [row("a", "v", 4, 5), table.Row("b", "v", 4, 500, 1)]
        self.assertEqual(len(table.lines(rows, {})), 2)
        self.assertEqual(table.notes(rows), ["1 rows were not reached"])


class Ratios(unittest.TestCase):
    def test_equal_bits_take_the_best_of_ours(self):
        rows = [row("halftone", "slow", 4.5, 10, True), row("halftone", "fast", 4.6, 12, True), row("peer", "q4", 4.5, 5)]
        found = table.ratios(rows[2], rows)["decode"]
        self.assertEqual((found.value, found.ours, found.equal_bits), (2.4, "fast", True))

    def test_other_bits_take_the_nearest_and_are_flagged(self):
        rows = [row("halftone", "r4", 6.7, 10, True), row("halftone", "r8", 9.7, 8, True), row("peer", "q4", 5.5, 5)]
        found = table.ratios(rows[2], rows)["decode"]
        self.assertEqual((found.value, found.ours, found.equal_bits), (2.0, "r4", False))
        self.assertEqual(table.ratio_text(table.ratios(rows[2], rows), "decode"), "2.00~ r4")

    def test_equal_bits_end_at_three_percent(self):
        peer = row("peer", "q", 10.0, 1)
        self.assertTrue(table.equal_bits(row("halftone", "r", 10.29, 1, True), peer))
        self.assertFalse(table.equal_bits(row("halftone", "r", 10.31, 1, True), peer))

    def test_other_threads_are_never_compared(self):
        rows = [row("halftone", "r4", 4.5, 10, True, threads=1), row("peer", "q4", 4.5, 5, threads=2)]
        self.assertEqual(table.ratios(rows[1], rows), {})

    def test_times_turn_over_so_that_above_one_is_faster(self):
        rows = [row("halftone", "r4", 4.5, 10, True, first_token_s=0.1), row("peer", "q4", 4.5, 10, first_token_s=0.4)]
        self.assertAlmostEqual(table.ratios(rows[1], rows)["first_token_s"].value, 4.0)

    def test_share_of_the_read_bandwidth(self):
        self.assertAlmostEqual(table.read_share(row("halftone", "r4", 4.0, 10, True), 80000.0), 0.5)    # 10 tokens/s x 4000 bytes
        self.assertIsNone(table.read_share(row("halftone", "r4", 4.0, 10, True), None))


class Floors(unittest.TestCase):
    rows = [row("halftone", "r4", 4.5, 10, True), row("llama.cpp", "Q4_0", 4.5, 5)]

    def check(self, floor, bandwidth=None):
        return table.check_floors([floor], self.rows, bandwidth or {})

    def test_a_ratio_above_its_floor_says_nothing(self):
        self.assertEqual(self.check({"program": "llama.cpp", "variant": "Q4_0", "figure": "decode", "at_least": 2.0}), [])

    def test_a_ratio_below_its_floor_is_named(self):
        self.assertEqual(self.check({"program": "llama.cpp", "variant": "Q4_0", "figure": "decode", "threads": 2, "at_least": 2.1}),
                         ["r4 to llama.cpp Q4_0 in decode, 2 threads: 2.000 is below its floor 2.1"])

    def test_a_limit(self):
        floor = {"limit": "read", "variant": "r4", "at_least": 0.7}
        self.assertEqual(self.check(floor, {2: 90000.0}), ["r4 decode of the memory's read bandwidth, 2 threads: 0.500 is below its floor 0.7"])
        self.assertEqual(self.check({**floor, "at_least": 0.5}, {2: 90000.0}), [])

    def test_what_was_not_measured_does_not_fail(self):
        self.assertEqual(self.check({"program": "openvino", "at_least": 9.0}), [])
        self.assertEqual(self.check({"program": "llama.cpp", "variant": "Q4_0", "threads": 1, "at_least": 9.0}), [])
        self.assertEqual(self.check({"program": "llama.cpp", "ours": "r3", "at_least": 9.0}), [])

    def test_a_disturbed_ratio_decides_nothing(self):
        slow = table.Row("halftone", "r4", 4.5, 4500, 2, True)
        slow.add({"decode": 1.0}, 0, False)
        floors = [{"program": "llama.cpp", "at_least": 2.0}, {"limit": "read", "at_least": 0.7}]
        self.assertEqual(table.check_floors(floors, [slow, self.rows[1]], {2: 90000.0}), [])
        self.assertEqual(table.ratio_text(table.ratios(self.rows[1], [slow, self.rows[1]]), "decode"), "0.20! r4")

    def test_a_floor_that_means_nothing_is_refused(self):
        with self.assertRaisesRegex(ValueError, "unknown progam"):
            self.check({"progam": "llama.cpp", "program": "x", "at_least": 1})
        with self.assertRaisesRegex(ValueError, "needs at_least"):
            self.check({"program": "llama.cpp"})

    def test_the_committed_file_is_well_formed(self):
        table.check_floors(json.loads((bench.HERE / "floors.json").read_text())["floors"], [], {})


class Text(unittest.TestCase):
    rows = [row("halftone", "r4", 4.5, 10, True), row("peer", "q4", 4.5, 5)]

    def test_columns_nobody_has_are_left_out(self):
        head = table.lines(self.rows, {})[0]
        self.assertIn("decode tok/s", head)
        self.assertNotIn("prefill tok/s", head)
        self.assertNotIn("of read", head)
        self.assertIn("of read", table.lines(self.rows, {2: 1e6})[0])

    def test_markdown_has_as_many_cells_in_every_line(self):
        lines = table.markdown(table.lines(self.rows, {})).splitlines()
        self.assertEqual({line.count("|") for line in lines}, {lines[0].count("|")})

    def test_spread_and_numbers(self):
        found = table.Row("a", "v", 4, 1, 1)
        for value in (1234.0, 1300.0, 999.4):
            found.add({"prefill": value}, 0, True)
        self.assertEqual(table.cell_text(found, "prefill"), "1,234 (999-1,300)")

    def test_json_can_be_read_back(self):
        found = json.loads(json.dumps(table.as_json(self.rows)))
        self.assertEqual(found[1]["ratios"]["decode"]["value"], 2.0)
        self.assertEqual(found[0]["figures"]["decode"]["clean"], [10])


class Host(unittest.TestCase):
    def test_every_file_of_drivers_is_a_peer(self):
        known = drivers.discover()
        self.assertIn("llama.cpp", known)
        self.assertEqual([n for n, k in known.items() if k.is_ours], ["halftone"])
        self.assertTrue(all(set(k.measures) <= set(drivers.MEASURES) for k in known.values()))

    def test_source_counts_parameters_and_rows(self):
        with tempfile.TemporaryDirectory() as folder:
            header = json.dumps({"a": {"dtype": "F32", "shape": [3, 8], "data_offsets": [0, 96]}, "n": {"dtype": "F32", "shape": [8], "data_offsets": [96, 128]},
                                 "__metadata__": {}}).encode()
            pathlib.Path(folder, "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(128))
            pathlib.Path(folder, "config.json").write_text('{"vocab_size": 11, "bos_token_id": 2}')
            source = Source.read(pathlib.Path(folder))
        self.assertEqual((source.parameters, source.row_lengths, source.bos), (32, (8,), 2))
        self.assertEqual(source.ids(5), source.ids(9)[:5])
        self.assertTrue(all(0 <= i < 11 for i in source.ids(100)))

    def test_run_measures_pins_and_reports_failure(self):
        code = "import os, sys; x = bytearray(50_000_000); print(len(os.sched_getaffinity(0))); sys.exit(3)"
        status, out, _, used = run([sys.executable, "-c", code], 1)
        self.assertEqual((status, out.strip()), (3, "1"))
        self.assertGreater(used.peak_bytes, 50_000_000)
        self.assertGreater(used.cpu_s, 0)

    def test_others_are_what_the_machine_did_beyond_the_program(self):
        watch = Watch()
        found = watch.usage(cpu_s=1e9, peak_bytes=0)     # a program cannot have used more than the machine: counts as nothing
        self.assertEqual(found.others_share, 0.0)

    def test_pinning_takes_the_first_cpus_that_are_allowed(self):
        self.assertEqual(len(first_cpus(1)), 1)

    def test_the_reason_is_the_line_that_names_the_error(self):
        self.assertEqual(last_words("a\nValueError: bad group\n\nhint: see above\n"), "ValueError: bad group")
        self.assertEqual(last_words("only this\n"), "only this")

    def test_the_clock_of_llama_perplexity(self):
        log = "0.01.223.219 I perplexity: calculating perplexity over 1 chunks\n1.01.945.056 I Final estimate: PPL = 17.89 +/- 3.57\n"
        self.assertEqual(stamped(log, r"Final estimate: PPL = ([\d.]+)"), (61.945056, "17.89"))
        self.assertEqual(stamped(log, "calculating perplexity"), (1.223219, ""))
        with self.assertRaisesRegex(Unavailable, "printed no line with Final"):
            stamped("nothing", "Final")

    def test_read_bandwidth_is_the_widest_four_stream_median(self):
        rows = [{"threads": 2, "what": "memory, 4 streams", "median": 20.0}, {"threads": 2, "what": "memory, 4 streams", "median": 25.0},
                {"threads": 1, "what": "memory, 4 streams", "median": 30.0}, {"threads": 2, "what": "memory, 1 stream", "median": 99.0}]
        self.assertEqual(machine.read_bandwidth(rows, 2), 25e9)
        self.assertIsNone(machine.read_bandwidth(rows, 4))

    def test_command_line_is_refused_with_one_clear_line(self):
        with tempfile.TemporaryDirectory() as folder:
            for arguments, text in (([folder], "has no config.json"), ([folder, "--peers", "llama"], "unknown peer llama: one of"),
                                    ([folder, "--what", "spead"], "unknown measure spead: one of"), ([folder, "--threads", "x"], "--threads x")):
                errors = io.StringIO()
                with contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as stopped:
                    bench.parse(arguments, drivers.discover())
                self.assertEqual(stopped.exception.code, 2)
                self.assertIn(text, errors.getvalue())


if __name__ == "__main__":
    unittest.main()
