#!/usr/bin/env python3
"""Does `halftone eval` give what lm-eval gives? Runs both on the same files and compares item by item.

  compare_lm_eval.py HALFTONE MODEL --data DIR [--weights FILE] [--reference FOLDER] [--tasks a,b] [--limit N] [--num-fewshot K] [--json OUT]
  compare_lm_eval.py --golden OUT.json --model FOLDER --data DIR

HALFTONE   the program; MODEL what it evaluates (--mode exact)
--reference  folder that transformers loads (default: MODEL). --weights: a safetensors file of float weights put over it, made by
             `dequantize MODEL FILE`, for a packed MODEL
--tasks    default piqa,arc_easy,arc_challenge,winogrande; also hellaswag, mmlu (--subjects), lambada_openai, lambada_standard, wikitext
--golden   no halftone: writes lm-eval's log-likelihoods of small data (tests/fixtures/eval) for the tests, see GOLDEN below

lm-eval's own task files are used, with `dataset_path` replaced by the local files rewritten in the layout of the hub. Compared: prompts and
continuations as text, log-likelihoods, chosen answers (acc's and acc_norm's), scores and standard errors. Every difference above
--tolerance (1e-3, absolute, of a log-likelihood) is listed. Exit code 1 when there is one, or a score differs.
Needs lm-eval 0.4.13, transformers, torch (tried with transformers 5.23, torch 2.15 on a CPU). By hand only; no test runs this.
"""
import argparse
import csv
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SUBJECTS = "abstract_algebra,anatomy,high_school_us_history,marketing,moral_scenarios,professional_law,sociology,world_religions"
# Runs of --golden: task, examples, items. On a data folder of a few rows each.
GOLDEN = [("piqa", 0), ("piqa", 2), ("arc_easy", 0), ("arc_easy", 2), ("arc_challenge", 0), ("hellaswag", 0), ("hellaswag", 1), ("winogrande", 0),
          ("winogrande", 2), ("mmlu", 0), ("mmlu", 2), ("lambada_openai", 0), ("lambada_standard", 0), ("wikitext", 0)]


def lines(path):
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]


def arc_row(row):
    if "choices" in row:
        return row
    choices = row["question"]["choices"]
    return {"id": row.get("id", ""), "question": row["question"]["stem"], "answerKey": row["answerKey"],
            "choices": {"text": [c["text"] for c in choices], "label": [c["label"] for c in choices]}}


def mmlu_rows(path, subject):
    with open(path, newline="", encoding="utf-8") as f:
        return [{"question": r[0], "subject": subject, "choices": r[1:5], "answer": "ABCD".index(r[5])} for r in csv.reader(f) if r]


def wikitext_pages(path):
    """As EleutherAI/wikitext_document_level cuts them."""
    pages, ret = [], []
    for line in path.read_text().split("\n"):
        title = line.replace("= = =", "===").replace("= =", "==").strip()
        if title.startswith("= ") and title.endswith(" ="):
            page = "\n".join(ret)
            if page.strip():
                pages.append({"page": page})
                ret = []
        ret.append(line)
    return pages + [{"page": "\n".join(ret)}]


def splits_of(task, data):
    """{split: rows in the hub's layout}, of the files that are there."""
    if task == "piqa":
        def piqa(name):
            rows = lines(data / f"piqa/{name}.jsonl")
            labels = data / f"piqa/{name}-labels.lst"
            if labels.exists():
                rows = [dict(r, label=int(x)) for r, x in zip(rows, labels.read_text().split(), strict=True)]
            return rows
        found = {"validation": "valid", "train": "train"}
        return {s: piqa(n) for s, n in found.items() if (data / f"piqa/{n}.jsonl").exists()}
    if task in ("arc_easy", "arc_challenge"):
        name = {"arc_easy": "ARC-Easy", "arc_challenge": "ARC-Challenge"}[task]
        found = {"test": "Test", "validation": "Dev", "train": "Train"}
        return {s: [arc_row(r) for r in lines(data / f"arc/{name}-{n}.jsonl")] for s, n in found.items() if (data / f"arc/{name}-{n}.jsonl").exists()}
    if task == "hellaswag":
        return {"validation": lines(data / "hellaswag/hellaswag_val.jsonl")}
    if task == "winogrande":
        found = {"validation": "dev", "train": "train_xl"}
        return {s: lines(data / f"winogrande/{n}.jsonl") for s, n in found.items() if (data / f"winogrande/{n}.jsonl").exists()}
    if task.startswith("mmlu_"):
        s = task[5:]
        return {"test": mmlu_rows(data / f"mmlu/test/{s}_test.csv", s), "dev": mmlu_rows(data / f"mmlu/dev/{s}_dev.csv", s)}
    if task.startswith("lambada"):
        return {"test": lines(data / f"lambada/{task}_test.jsonl")}
    if task == "wikitext":
        return {"test": wikitext_pages(data / "wikitext2/test.txt")}
    raise SystemExit(f"no such task: {task}")


def lm_eval_config(task, data, folder):
    """lm-eval's own yaml, reading local files."""
    import lm_eval
    from lm_eval.tasks._yaml_loader import load_yaml

    root = pathlib.Path(lm_eval.__file__).parent / "tasks"
    file = {"winogrande": "winogrande/default.yaml", "arc_easy": "arc/arc_easy.yaml", "arc_challenge": "arc/arc_challenge.yaml",
            "lambada_openai": "lambada/lambada_openai.yaml", "lambada_standard": "lambada/lambada_standard.yaml"}.get(task)
    if file is None:
        file = f"mmlu/default/{task}.yaml" if task.startswith("mmlu_") else f"{task}/{task}.yaml"
    config = load_yaml(root / file)
    splits = splits_of(task, data)
    files = {}
    for split, rows in splits.items():
        files[split] = str(folder / f"{task}_{split}.jsonl")
        with open(files[split], "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
    config |= {"task": f"local_{task}", "dataset_path": "json", "dataset_kwargs": {"data_files": files}}
    for key in ("dataset_name", "tag", "task_alias", "group"):
        config.pop(key, None)
    for key, split in (("training_split", "train"), ("validation_split", "validation"), ("test_split", "test")):
        if split not in splits:
            config[key] = None
    if task == "hellaswag" and "query" in splits["validation"][0]:  # cleaned by somebody else: nothing to do
        config.pop("process_docs")
        config |= {"doc_to_text": "{{query}}", "doc_to_choice": "endings"}
    return config


def reference_model(folder, weights, batch_size, softmax=None):
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if weights:
        from safetensors.torch import load_file

        loaded = {name: t.float() for name, t in load_file(weights).items()}
        missing, spare = model.load_state_dict(loaded, strict=False)
        linears = [n for n in missing if n.endswith("_proj.weight")]
        if spare or linears:
            raise SystemExit(f"{weights} does not fit {folder}: missing {linears[:3]}, spare {spare[:3]}")
    # tokenizer.json as it is. AutoTokenizer of transformers 5 rebuilds those of LLaMA with Metaspace instead of the normalizers of the file, which cuts
    # texts that begin with a space or with <s> into other tokens.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    return HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=batch_size, dtype="float32", device="cpu", softmax_dtype=softmax)


def cpu_seconds(who):
    """Processor time: on a machine that others use, the honest clock."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def run_lm_eval(lm, tasks, data, limit, shots):
    """{task: {"results": .., "samples": [..]}} and seconds, of the wall clock and of processors."""
    import lm_eval

    out = {}
    with tempfile.TemporaryDirectory() as folder:
        configs = [lm_eval_config(t, data, pathlib.Path(folder)) for t in tasks]
        for config in configs:
            if shots:
                config["num_fewshot"] = shots
        start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
        result = lm_eval.simple_evaluate(lm, tasks=configs, num_fewshot=shots or None, limit=limit, bootstrap_iters=0 if shots is None else 100,
                                         fewshot_random_seed=1234, log_samples=True)
        seconds = (time.perf_counter() - start, cpu_seconds(resource.RUSAGE_SELF) - cpu)
        for t in tasks:
            out[t] = {"results": result["results"][f"local_{t}"], "samples": sorted(result["samples"][f"local_{t}"], key=lambda s: s["doc_id"])}
    return out, seconds


def run_halftone(program, model, tasks, data, limit, shots, threads):
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "samples.jsonl"
        command = [program, "eval", model, "--tasks", ",".join(tasks), "--data", str(data), "--mode", "exact", "--json", "--quiet", "--fresh",
                   "--threads", str(threads), "--log-samples", str(log)]
        if limit:
            command += ["--limit", str(limit)]
        if shots:
            command += ["--num-fewshot", str(shots)]
        start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = (time.perf_counter() - start, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        samples = {}
        for line in log.read_text().splitlines():
            sample = json.loads(line)
            samples.setdefault(sample["task"], []).append(sample)
        return json.loads(done.stdout)["results"], samples, seconds


def loglikelihoods(sample):
    """Of one lm-eval sample, in memory."""
    first = sample["filtered_resps"]
    return [float(r[0]) if isinstance(r, (list, tuple)) else float(r) for r in first]


def arguments(sample):
    a = sample["arguments"]
    if isinstance(a, dict):
        return [[v["arg_0"], v["arg_1"]] for v in a.values()]
    return [list(x) for x in a]


def compare(task, theirs, ours, ours_results, tolerance):
    samples, results, problems, worst = theirs["samples"], theirs["results"], [], 0.0
    if len(samples) != len(ours):
        problems.append(f"{task}: {len(samples)} items against {len(ours)}")
    for a, b in zip(samples, ours):
        where = f"{task} {a['doc_id']}"
        if "skipped" in b:
            problems.append(f"{where}: skipped by halftone: {b['skipped']}")
            continue
        x = loglikelihoods(a)
        y = [float(r[0]) for r in b["filtered_resps"]] if task != "wikitext" else [b["log_likelihood"]]
        if task != "wikitext" and arguments(a) != arguments(b):
            problems.append(f"{where}: the texts differ: {arguments(a)[0]!r} against {arguments(b)[0]!r}")
        size = tolerance if task != "wikitext" else 1e-6 * abs(x[0])  # a sum over thousands of tokens
        worst = max([worst] + [abs(p - q) for p, q in zip(x, y)])
        for i, (p, q) in enumerate(zip(x, y, strict=True)):
            if abs(p - q) > size:
                problems.append(f"{where}: log-likelihood {i}: {p:.6f} against {q:.6f}")
        for metric in ("acc", "acc_norm"):
            if metric in a and metric in b and float(a[metric]) != float(b[metric]):
                problems.append(f"{where}: {metric} {a[metric]} against {b[metric]} ({x} against {y})")
        if len(x) > 1 and max(range(len(x)), key=x.__getitem__) != max(range(len(y)), key=y.__getitem__):
            problems.append(f"{where}: another choice")
    scores = []
    for metric in ("acc", "acc_norm", "acc_stderr", "acc_norm_stderr", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"):
        value = results.get(f"{metric},none")
        if not isinstance(value, (int, float)) or metric not in ours_results:
            continue
        mine = ours_results[metric]
        near = 1e-12 if "acc" in metric else 1e-5 * abs(value)
        scores.append(f"{metric} {value:.6g}")
        if mine is None or abs(mine - value) > near:
            problems.append(f"{task}: {metric} {value} against {mine}")
    return problems, worst, scores


def golden(options):
    lm = reference_model(options.model, None, 1)
    data = pathlib.Path(options.data)
    out = {"made_by": "tests/tools/compare_lm_eval.py --golden, lm-eval 0.4.13", "runs": []}
    for task, shots in GOLDEN:
        tasks = [task] if task != "mmlu" else ["mmlu_anatomy", "mmlu_world_religions"]
        done, _ = run_lm_eval(lm, tasks, data, None, shots)
        run = {"task": task, "num_fewshot": shots, "parts": {}}
        for t in tasks:
            results = {k.removesuffix(",none"): v for k, v in done[t]["results"].items() if k.endswith(",none") and isinstance(v, (int, float))}
            # lm-eval's bootstrap errors are drawn by another generator.
            results = {k: v for k, v in results.items() if not k.endswith("perplexity_stderr")}
            items = []
            for s in done[t]["samples"]:
                item = {"log_likelihoods": [round(x, 6) for x in loglikelihoods(s)]}
                if t != "wikitext":
                    item["arguments"] = arguments(s)
                    item["greedy"] = [bool(r[1]) for r in s["filtered_resps"]]
                item |= {m: s[m] for m in ("acc", "acc_norm") if m in s}
                items.append(item)
            run["parts"][t] = {"results": results, "items": items}
        if len(tasks) > 1:
            from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr

            parts = [run["parts"][t] for t in tasks]
            sizes = [len(p["items"]) for p in parts]
            run["results"] = {"acc": float(aggregate_subtask_metrics([p["results"]["acc"] for p in parts], sizes)),
                              "acc_stderr": float(pooled_sample_stderr([p["results"]["acc_stderr"] for p in parts], sizes))}
        out["runs"].append(run)
    text = json.dumps(out, indent=1, ensure_ascii=False)
    pathlib.Path(options.golden).write_text(re.sub(r"\[\n\s+(-?[\d.]+(?:,\n\s+-?[\d.]+)*)\n\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("halftone", nargs="?")
    parser.add_argument("ours", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--reference")
    parser.add_argument("--weights")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default="piqa,arc_easy,arc_challenge,winogrande")
    parser.add_argument("--subjects", default=SUBJECTS)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--num-fewshot", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--softmax-dtype", help="lm-eval's softmax_dtype; float64 takes out its own rounding, 1e-3 in a sum over 150 tokens")
    parser.add_argument("--golden")
    parser.add_argument("--json")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    if options.golden:
        return golden(options)
    tasks = [t for name in options.tasks.split(",") for t in ([f"mmlu_{s}" for s in options.subjects.split(",")] if name == "mmlu" else [name])]
    data = pathlib.Path(options.data).resolve()
    results, samples, our_seconds = run_halftone(options.halftone, options.ours, tasks, data, options.limit, options.num_fewshot, options.threads)
    lm = reference_model(options.reference or options.ours, options.weights, options.batch_size, options.softmax_dtype)
    theirs, their_seconds = run_lm_eval(lm, tasks, data, options.limit, options.num_fewshot)
    problems, report = [], {}
    for task in tasks:
        found, worst, scores = compare(task, theirs[task], samples[task], results[task], options.tolerance)
        report[task] = {"items": len(samples[task]), "largest_difference": worst, "problems": found, "scores": scores}
        print(f"{task:32} {len(samples[task]):5} items  largest difference {worst:.2e}  {', '.join(scores)}  {'DIFFERS' if found else 'equal'}")
        problems += found
    print(f"seconds: halftone {our_seconds[0]:.1f}, of processors {our_seconds[1]:.1f} (load and tokenizing included); "
          f"lm-eval {their_seconds[0]:.1f}, of processors {their_seconds[1]:.1f} (loaded model); {sum(len(s) for s in samples.values())} items")
    for problem in problems:
        print("  " + problem)
    if options.json:
        report["seconds"] = {"halftone": our_seconds, "lm_eval": their_seconds}
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
