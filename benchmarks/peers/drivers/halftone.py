"""Ours, behind the interface of the peers: the dense folder, and every folder given with --ours, as it is and with its head in 8 bits
(what the peers' low-bit files have)."""
import dataclasses
import json

from .peer import Peer, Sample, Unavailable, Variant
from .process import TreePeak

PROMPT_WORD = "the"
HEAD = "+head8"         # a variant run with --head-bits 8
HEAD_BITS = 8.5         # with a scale for 32 weights


class Halftone(Peer):
    name = "halftone"
    is_ours = True
    measures = ("speed", "first-token", "perplexity", "quantize")

    def __init__(self, options):
        super().__init__(options)
        self.prompts: dict[int, str] = {}

    def install(self):
        if not self.options.halftone or not self.options.halftone.exists():
            raise Unavailable(f"{self.options.halftone} is not there: build the release preset, or name it with --halftone")
        return self.run([self.options.halftone, "--version"]).strip()

    def variants(self, source):
        found = []
        for folder in (*self.options.ours, source.path):
            self.run([self.options.halftone, "inspect", folder])    # says what is wrong with it before any sample
            plain = self.variant("dense" if folder == source.path else folder.name, folder, source, ("*.safetensors",))
            found.append(plain)
            if folder != source.path:
                config = json.loads((folder / "config.json").read_text())
                saved = int(config["vocab_size"] * config["hidden_size"] * (16 - HEAD_BITS) / 8)    # our folders keep the head in 16 bits
                weight_bytes = plain.weight_bytes - saved
                found.append(dataclasses.replace(plain, name=plain.name + HEAD, weight_bytes=weight_bytes, bits=8 * weight_bytes / source.parameters))
        return found

    @staticmethod
    def head(variant):
        return ["--head-bits", 8] if variant.name.endswith(HEAD) else []

    def speed(self, variant, source, threads, prefill, decode):
        out, usage = self.measured([self.options.halftone, "bench", variant.path, "--prefill", prefill, "--decode", decode, "--repeat", 1,
                                    "--threads", threads, "--json", "-q", *self.head(variant)], threads)
        answer = json.loads(out)
        return Sample({"prefill": answer["prefill"]["tok_s"], "decode": answer["decode"]["tok_s"]}, usage)

    def prompt(self, variant, tokens):
        """A text that this model's tokenizer cuts into `tokens` tokens: as many words, or nearly."""
        for words in sorted(range(1, 2 * tokens), key=lambda n: abs(n - tokens)):
            text = " ".join([PROMPT_WORD] * words)
            out, _ = self.measured([self.options.halftone, "run", variant.path, "-p", text, "-n", 1, "--no-template", "--greedy", "--json", "-q"], 1)
            if json.loads(out)["prompt_tokens"] == tokens:
                return text
        raise Unavailable(f"found no prompt of {tokens} tokens")

    def first_token(self, variant, source, threads, prompt):
        """The whole life of `halftone run` for one token: start, load, tokenize, the prompt, the token."""
        if prompt not in self.prompts:
            self.prompts[prompt] = self.prompt(variant, prompt)
        _, usage = self.measured([self.options.halftone, "run", variant.path, "-p", self.prompts[prompt], "-n", 1, "--no-template", "--greedy",
                                  "--threads", threads, "-q", *self.head(variant)], threads)
        return Sample({"first_token_s": usage.wall_s}, usage)

    def data(self):
        if not self.options.data:
            raise Unavailable("needs --data, a folder with wikitext2/test.txt")
        return ["--data", self.options.data]

    def perplexity(self, variant, source, threads, windows):
        out, usage = self.measured([self.options.halftone, "eval", variant.path, "--tasks", "wikitext2", "--limit", windows, "--mode", "int8",
                                    *self.data(), "--threads", threads, "--json", "-q", *self.head(variant)], threads)
        result = json.loads(out)["results"]["wikitext2"]
        return Sample({"perplexity": result["perplexity"], "perplexity_tok_s": result["tokens"] / result["seconds"]}, usage)

    def quantize(self, source, threads, samples, length):
        self.root.mkdir(parents=True, exist_ok=True)
        out = self.root / f"{source.path.name}-{self.options.recipe}"
        peak = TreePeak()
        peak.start()
        try:
            _, usage = self.measured([self.options.halftone, "quantize", source.path, "--recipe", self.options.recipe, "-o", out, "--force",
                                      "--samples", samples, "--length", length, *self.data(), "--threads", threads, "-q",
                                      "--no-measure"], threads)  # peers write a model and do not measure it
        finally:
            peak.done.set()
        usage.peak_bytes = max(usage.peak_bytes, peak.peak)
        return Sample({"quantize_s": usage.wall_s}, usage)
