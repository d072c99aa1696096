#!/usr/bin/env python3
"""Does `halftone compare` give the divergences that transformers gives? The same windows of a text through both.

  dequantize MODEL FILE
  compare_kl.py HALFTONE REF MODEL --weights FILE --text TEXT [--windows 2] [--window 512] [--threads 2] [--golden OUT.json]

REF        a folder that transformers loads
--weights  float weights of the packed MODEL, as `dequantize` writes them; they are put over REF's
--text     a .txt file, tokenized as one document
--golden   also write the figures of transformers, for tests/measure_test.cc

transformers: float32 forward passes, softmax and sums in float64, medians by sorting. halftone: `compare --mode exact --json`. Exit code 1 when a
figure is off by more than its tolerance: 1e-5 relative for perplexities, 1e-4 relative and 1e-6 absolute for divergences (medians: 0.8 %, the width of
a bin), none for shares of positions.
Needs transformers and torch (tried with transformers 5.24, torch 2.15 on a CPU). By hand only; no test runs this.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

TOLERANCES = {"kl_mean": (1e-4, 1e-6), "kl_median": (8e-3, 1e-6), "kl_max": (1e-4, 1e-6), "js_mean": (1e-4, 1e-6), "js_median": (8e-3, 1e-6), "js_max": (1e-4, 1e-6),
              "top1_agreement": (0, 1e-12), "top5_agreement": (0, 1e-12), "reference_perplexity": (1e-5, 0), "perplexity": (1e-5, 0),
              "perplexity_ratio": (1e-5, 0)}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("halftone")
parser.add_argument("reference")
parser.add_argument("model")
parser.add_argument("--weights", required=True)
parser.add_argument("--text", required=True, type=pathlib.Path)
parser.add_argument("--windows", type=int, default=2)
parser.add_argument("--window", type=int, default=512)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--golden", type=pathlib.Path)
args = parser.parse_args()
torch.set_num_threads(args.threads)

reference, model = (AutoModelForCausalLM.from_pretrained(args.reference, dtype=torch.float32).eval() for _ in range(2))
missing, spare = model.load_state_dict({name: t.float() for name, t in load_file(args.weights).items()}, strict=False)
if spare or any(name.endswith("_proj.weight") for name in missing):
    sys.exit(f"{args.weights} does not fit {args.reference}: missing {missing[:3]}, spare {spare[:3]}")
# tokenizer.json as it is: AutoTokenizer of transformers 5 rebuilds those of LLaMA with other rules.
ids = PreTrainedTokenizerFast.from_pretrained(args.reference)(args.text.read_text(), verbose=False)["input_ids"]

kl, js, same, common, losses = [], [], [], [], {"reference_perplexity": [], "perplexity": []}
with torch.inference_mode():
    for w in range(min(args.windows, len(ids) // args.window)):
        window = torch.tensor([ids[w * args.window:(w + 1) * args.window]])
        rows = [m(window).logits[0, :-1].double() for m in (reference, model)]
        p, q = (torch.log_softmax(x, -1) for x in rows)
        m = torch.logaddexp(p, q) - math.log(2)
        kl.append((p.exp() * (p - q)).sum(-1))
        js.append(((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)) / 2)
        same.append((p.argmax(-1) == q.argmax(-1)).double())
        five = [x.topk(5).indices for x in (p, q)]
        common.append((five[0][:, :, None] == five[1][:, None, :]).any(-1).double().mean(-1))
        for name, x in zip(losses, (p, q)):
            losses[name].append(-x.gather(-1, window[0, 1:, None]).mean().item())
kl, js, same, common = map(torch.cat, (kl, js, same, common))
theirs = {f"{name}_{what}": value.item() for name, x in (("kl", kl), ("js", js)) for what, value in
          (("mean", x.mean()), ("median", x.quantile(0.5)), ("max", x.max()))}
theirs |= {"top1_agreement": same.mean().item(), "top5_agreement": common.mean().item()}
theirs |= {name: math.exp(sum(x) / len(x)) for name, x in losses.items()}
theirs["perplexity_ratio"] = theirs["perplexity"] / theirs["reference_perplexity"]

command = [args.halftone, "compare", args.reference, args.model, "--text", str(args.text), "--windows", str(args.windows), "--window", str(args.window),
           "--mode", "exact", "--threads", str(args.threads), "--no-speed", "--no-noise-floor", "--json", "--quiet"]
done = subprocess.run(command, capture_output=True, text=True, check=False)
if done.returncode != 0:
    sys.exit(done.stderr)
result = json.loads(done.stdout)
if result["positions"] != len(kl):
    sys.exit(f"halftone scored {result['positions']} positions, transformers {len(kl)}")
bad = 0
for name, (relative, absolute) in TOLERANCES.items():
    want, got = theirs[name], result["models"][1][name]
    far = abs(want - got) > relative * abs(want) + absolute
    bad += far
    print(f"{name:21} transformers {want:.9g}  halftone {got:.9g}  difference {got - want:+.1e}{'  DIFFERENT' if far else ''}")
if args.golden:
    text = json.dumps({"made_by": "tests/tools/compare_kl.py", "windows": args.windows, "window": args.window, "positions": len(kl), "figures": theirs}, indent=1)
    args.golden.write_text(text + "\n")
sys.exit(bad > 0)
