#!/usr/bin/env python3
"""Holds `halftone score` against sacrebleu, rouge-score, scikit-learn and statsmodels.

    python3 compare_scores.py build/release/bin/halftone --data DATA      every text of DATA/wmt, and labels of every kind
    python3 compare_scores.py --golden tests/fixtures/scores/expected.json --data DATA

needs: pip install sacrebleu rouge-score scikit-learn statsmodels
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from statsmodels.stats.contingency_tables import mcnemar

WORDS = ["13a", "char", "none", "intl"]
PAIRS = [  # references, other language
    ("newstest2015.de", "newstest2015.en"),
    ("newstest2015.en", "newstest2015.de"),
    ("multi30k_test_2016_flickr.de", "multi30k_test_2016_flickr.fr"),
    ("multi30k_test_2016_flickr.en", "multi30k_test_2016_flickr.de"),
    ("multi30k_test_2016_flickr.fr", "multi30k_test_2016_flickr.en"),
]

# What goes wrong easily: entities, stops beside digits and beside letters of several bytes, dashes, spaces that only Unicode knows,
# marks at the ends of words, letters whose lower case is ASCII, nothing at all.
HARD = [
    ("The cat sat on the mat.", ["The cat sat on the mat.", "A cat was sitting on the mat."]),
    ("Prices rose 3.5% to $1,234.56 (up 12-15), he said...", ["Prices rose 3.5 % to $1,234.56 - up 12 - 15 -, he said."]),
    ("&quot;Tom &amp; Jerry&quot; &lt;b&gt; &amp;lt; <skipped> end", ["\"Tom & Jerry\" <b> &lt; end"]),
    ("Ein Caf\u00e9.Wer? \u00dcber,\u00dfchen 5,\u00e4 \u00e9.5 \u4f60\u597d\uff0c\u4e16\u754c\u3002", ["Ein Caf\u00e9. Wer? \u00dcber, \u00dfchen 5, \u00e4 \u00e9 .5 \u4f60\u597d,\u4e16\u754c\u3002"]),
    ("no\u00a0break\u2003em\u3000wide\u0085next\u001funit\u200bzero", ["no break em wide next unit zero"]),
    ("well-known state-of-the-art 2019-2020 a--b -x- 7-", ["well known state of the art 2019 - 2020 a - b x 7"]),
    ("..,,.. ,.,1.,2,.3 '' \"\" ``", [". . , , . . 1 , 2 . 3 '' \"\""]),
    ("\u0130stanbul 300\u212a K\u00d6LN \u212bngstr\u00f6m \u0130i", ["istanbul 300k k\u00f6ln angstrom ii"]),
    ("(word) 'quoted' \"double\" !bang bang! a! ! \u00e9! !\u00e9 _x_ ~", ["( word ) ' quoted ' double bang bang a \u00e9 x"]),
    ("\U0001f600 emoji\U0001f680. \U0001d11e, clef", ["\U0001f600 emoji \U0001f680 . clef \U0001d11e"]),
    ("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
    ("", ["something was there"]),
    ("something is here", [""]),
    ("", [""]),
    ("one", ["one"]),
    ("one two", ["one two", ""]),
    ("a b c d e f g h i j", ["j i h g f e d c b a", "a b c d e", "a b c d e f g h i j k l m n o"]),
    ("   spaces   around   ", ["spaces around"]),
    ("tab\tin\tthe middle \u2028 line", ["tab in the middle line"]),
    ("x" * 40 + " y", ["x" * 37 + " y z"]),
]


def noisy(lines, others, seed):
    """Words lost and swapped, lines in another language. The same in halftone/eval/scores_test.cc."""
    rng = random.Random(seed)
    out = []
    for line, other in zip(lines, others):
        words = [w for w in line.split() if rng.random() >= 0.12]
        if rng.random() < 0.3 and len(words) > 1:
            i = int(rng.random() * (len(words) - 1))
            words[i], words[i + 1] = words[i + 1], words[i]
        out.append(other if rng.random() < 0.05 else " ".join(words))
    return out


def texts_of(data, name):
    with open(os.path.join(data, "wmt", name), encoding="utf-8", newline="\n") as f:
        return [line.rstrip("\n") for line in f]


def bleu_json(score):
    return {"score": score.score, "precisions": score.precisions, "bp": score.bp, "length": score.sys_len, "reference_length": score.ref_len}


def rouge(hypothesis, references):
    return RougeScorer(["rougeL"]).score_multi(references, hypothesis)["rougeL"]


def corpus(hypotheses, references, words=WORDS):
    """references: one list for each set."""
    chrf, plus = CHRF(), CHRF(word_order=2)
    out = {"bleu": {}}
    for name in words:
        bleu = BLEU(tokenize=name)
        out["bleu"][name] = bleu_json(bleu.corpus_score(list(hypotheses), references))
        if name == "13a":
            out["bleu_signature"] = bleu.get_signature().format().rsplit("|version", 1)[0]
    out["chrf"] = chrf.corpus_score(hypotheses, references).score
    out["chrf++"] = plus.corpus_score(hypotheses, references).score
    out["chrf_signature"] = chrf.get_signature().format().rsplit("|version", 1)[0]
    out["chrf++_signature"] = plus.get_signature().format().rsplit("|version", 1)[0]
    each = [rouge(h, list(r)) for h, r in zip(hypotheses, zip(*references))]
    out["rougeL"] = sum(e.fmeasure for e in each) / len(each)
    return out


def item(text, references):
    effective = BLEU(effective_order=True).sentence_score(text, references)
    return {
        "text": text,
        "references": references,
        "words": {name: BLEU(tokenize=name).tokenizer(text.rstrip()).split() for name in WORDS},
        "bleu": bleu_json(effective),
        "chrf": CHRF().sentence_score(text, references).score,
        "chrf++": CHRF(word_order=2).sentence_score(text, references).score,
        "rougeL": rouge(text, references).fmeasure,
    }


def label_sets():
    rng = random.Random(7)
    for labels, items, right in ((["0", "1"], 40, 0.8), (["10", "9", "-1"], 60, 0.5), (["neg", "neutral", "pos", "\u00e4"], 80, 0.6), (list("abcdefgh"), 30, 0.3), (["a"], 5, 1)):
        gold = [rng.choice(labels) for _ in range(items)]
        yield gold, *([g if rng.random() < p else rng.choice(labels) for g in gold] for p in (right, right * 0.8))
    yield ["a", "a", "b", "b"], ["a", "c", "c", "a"], ["c", "c", "c", "c"]  # labels never predicted, and never right
    yield ["a"] * 30, ["a"] * 30, ["b"] * 30  # every item parts
    yield ["1"] * 2000, ["1"] * 1900 + ["2"] * 100, ["2"] * 180 + ["1"] * 1820  # many items


def classification(gold, first, second):
    numbers = all(x.lstrip("-").isdigit() for x in gold + first)
    labels = sorted(set(gold + first), key=int if numbers else None)
    def three(**more):
        p, r, f, s = precision_recall_fscore_support(gold, first, labels=labels, zero_division=0, **more)
        return [p.tolist(), r.tolist(), f.tolist()] if s is not None else [float(p), float(r), float(f)]
    both = [[0, 0], [0, 0]]
    for g, a, b in zip(gold, first, second):
        both[a != g][b != g] += 1
    only, other = both[0][1], both[1][0]
    corrected = mcnemar(both, exact=False, correction=True) if only != other else None
    return {
        "gold": gold, "first": first, "second": second, "labels": labels,
        "confusion": confusion_matrix(gold, first, labels=labels).tolist(),
        "accuracy": accuracy_score(gold, first),
        "by_label": three(), "macro": three(average="macro"), "weighted": three(average="weighted"),
        "table": [both[0][0], only, other, both[1][1]],
        "exact_p": float(mcnemar(both, exact=True).pvalue) if only + other else 1.0,
        "statistic": float(corrected.statistic) if corrected else None,
        "p": float(corrected.pvalue) if corrected else None,
    }


def golden(data):
    texts = [h for h, _ in HARD]
    sets = [[r[min(i, len(r) - 1)] for _, r in HARD] for i in range(3)]
    wmt = []
    for at, (name, other) in enumerate(PAIRS):
        references = texts_of(data, name)
        scores = corpus(noisy(references, texts_of(data, other), at), [references], ["13a"])
        wmt.append({"references": name, "other": other, "seed": at, "scores": scores})
    return {
        "items": [item(h, r) for h, r in HARD],
        "corpus": {"one": corpus(texts, sets[:1]), "three": corpus(texts, sets), "references": sets},
        "wmt": wmt,
        "classification": [classification(*s) for s in label_sets()],
    }


class Tally:
    def __init__(self):
        self.same = self.last = self.different = 0

    def __call__(self, what, ours, theirs):
        if ours == theirs:
            self.same += 1
        elif abs(ours - theirs) <= 4e-15 * max(abs(ours), abs(theirs)):
            self.last += 1  # sums in another order: within two units of the 16th digit
        else:
            self.different += 1
            print(f"DIFFERENT {what}: {ours!r}, expected {theirs!r}")


def check(program, data):
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        def write(name, lines):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8", newline="\n") as f:
                f.writelines(line + "\n" for line in lines)
            return path

        def score(*words):
            return json.loads(subprocess.run([program, "score", *words, "--json", "--quiet"], check=True, capture_output=True, text=True).stdout)

        for at, (name, other) in enumerate(PAIRS):
            references, others = texts_of(data, name), texts_of(data, other)
            hypotheses = noisy(references, others, at)
            second = noisy(references, references, at + 100)
            path = write("hypotheses.txt", hypotheses)
            for sets in ([references], [second, references]):
                words = [w for i, s in enumerate(sets) for w in ("--reference", write(f"reference{i}.txt", s))]
                expected = corpus(hypotheses, sets)
                for tokenizer in WORDS:
                    ours = score(path, *words, "--metrics", "bleu", "--tokenize", tokenizer)["scores"]["bleu"]
                    theirs = expected["bleu"][tokenizer]
                    where = f"{name} {len(sets)} refs bleu {tokenizer}"
                    tally(where, ours["value"], theirs["score"])
                    tally(where + " bp", ours["brevity_penalty"], theirs["bp"])
                    for a, b in zip(ours["precisions"], theirs["precisions"]):
                        tally(where + " precision", a, b)
                ours = score(path, *words, "--metrics", "bleu,chrf,chrf++,rougeL")["scores"]
                for metric in ("chrf", "chrf++", "rougeL"):
                    tally(f"{name} {len(sets)} refs {metric}", ours[metric]["value"], expected[metric])
                for metric in ("bleu", "chrf", "chrf++"):
                    if ours[metric]["signature"] != expected[metric + "_signature"]:
                        tally(f"{name} {metric} signature {ours[metric]['signature']}", 0, 1)
                print(f"{name}, {len(sets)} reference(s): bleu {expected['bleu']['13a']['score']!r}, chrf {expected['chrf']!r}")
        for gold, first, second in label_sets():
            expected = classification(gold, first, second)
            ours = score(write("first.lst", first), "--labels", write("gold.lst", gold), "--against", write("second.lst", second))
            tally("accuracy", ours["accuracy"]["value"], expected["accuracy"])
            for mean in ("macro", "weighted"):
                for name, value in zip(("precision", "recall", "f1"), expected[mean]):
                    tally(f"{mean} {name}", ours[mean][name]["value"], value)
            for k, label in enumerate(expected["labels"]):
                for i, name in enumerate(("precision", "recall", "f1")):
                    tally(f"{label} {name}", ours["by_label"][k][name]["value"], expected["by_label"][i][k])
            if ours["confusion"] != expected["confusion"] or ours["labels"] != expected["labels"]:
                tally("confusion", 0, 1)
    print(f"{tally.same} numbers equal, {tally.last} within 4e-15, {tally.different} different")
    return 1 if tally.different else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("--data", required=True)
    parser.add_argument("--golden")
    arguments = parser.parse_args()
    if arguments.golden:
        with open(arguments.golden, "w", encoding="utf-8") as f:
            json.dump(golden(arguments.data), f, ensure_ascii=True, separators=(",", ":"))
            f.write("\n")
        return 0
    return check(arguments.program, arguments.data)


if __name__ == "__main__":
    sys.exit(main())
