"""CTranslate2: int8 and float32 on its own generator, converted from the Hugging Face folder by its own converter."""
import json

from .peer import Peer
from .worker import Generator, serve

KINDS = ("int8", "float32")


class CTranslate2(Peer):
    name = "ctranslate2"
    packages = ("ctranslate2==4.8.5", "transformers")
    needs_torch = True
    measures = ("speed", "first-token")

    def variants(self, source):
        return self.converted(source, KINDS, ("model.bin",), lambda kind, out: [
            self.python.with_name("ct2-transformers-converter"), "--model", source.path, "--output_dir", out, "--quantization", kind])


class Model(Generator):
    def __init__(self, path, variant, threads):
        import ctranslate2
        self.generator = ctranslate2.Generator(path, device="cpu", intra_threads=threads, inter_threads=1, compute_type=variant)
        with open(f"{path}/vocabulary.json", encoding="utf-8") as f:
            self.tokens = json.load(f)

    def generate(self, ids, count):
        """`end_token=[]`: no token ends it. With the prompt left out of the result, the prompt goes through in one piece."""
        result = self.generator.generate_batch([[self.tokens[i] for i in ids]], max_length=count, min_length=count, sampling_topk=1,
                                               include_prompt_in_result=False, end_token=[])
        assert len(result[0].sequences_ids[0]) == count, len(result[0].sequences_ids[0])


if __name__ == "__main__":
    serve(Model)
