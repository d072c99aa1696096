"""What the peers share that only quantize: one command, its time and the peak of its process tree, on the calibration text that ours takes too.

The peer's file is run as `venv/bin/python -m drivers.NAME quantize MODEL OUT TEXT SAMPLES LENGTH THREADS` and calls `main(quantize)`.
"""
import os
import pathlib
import shutil
import sys

from .peer import Peer, Sample, Unavailable
from .process import TreePeak, threads_environment

BITS, GROUP = 4, 64


class QuantizerPeer(Peer):
    needs_torch = True
    measures = ("quantize",)

    def variants(self, source):
        return []

    def quantize(self, source, threads, samples, length):
        if not self.options.data:
            raise Unavailable("needs --data, a folder with wikitext2/train*.txt")
        texts = sorted((self.options.data / "wikitext2").glob("train*.txt"))
        if not texts:
            raise Unavailable(f"{self.options.data / 'wikitext2'} holds no train*.txt")
        out = self.root / f"{source.path.name}-gptq"
        shutil.rmtree(out, ignore_errors=True)
        peak = TreePeak()
        peak.start()
        try:
            _, usage = self.measured([self.python, "-m", type(self).__module__, "quantize", source.path, out, texts[0], samples, length, threads], threads,
                                     cwd=pathlib.Path(__file__).resolve().parent.parent, env={**threads_environment(threads), **self.environment()})
        finally:
            peak.done.set()
        usage.peak_bytes = max(usage.peak_bytes, peak.peak)
        if not list(out.glob("*.safetensors")):
            raise Unavailable("wrote no weights")
        return Sample({"quantize_s": usage.wall_s}, usage)

    def environment(self) -> dict[str, str]:
        return {}


def main(quantize) -> None:
    """quantize(model folder, output folder, list of id lists)"""
    import torch
    import transformers
    _, _, model, out, text, samples, length, threads = sys.argv
    torch.set_num_threads(int(threads))
    os.chdir(pathlib.Path(out).parent)  # where libraries leave logs of their own
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    ids = tokenizer(pathlib.Path(text).read_text())["input_ids"]
    length, samples = int(length), int(samples)
    step = max(1, (len(ids) - length) // max(1, samples))
    if len(ids) < length * samples:
        sys.exit(f"error: {text} has {len(ids)} tokens, fewer than {samples} x {length}")
    quantize(model, out, [ids[i * step:i * step + length] for i in range(samples)])
