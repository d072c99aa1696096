"""ONNX Runtime with onnxruntime-genai: int4 (MatMulNBits, blocks of 32, int8 activations) and float32 from its own model builder."""
from .peer import Peer
from .worker import serve

KINDS = {"int4": ("int4", "int4_block_size=32", "int4_accuracy_level=4", "prune_lm_head=true"), "fp32": ("fp32", "prune_lm_head=true")}


class OnnxRuntime(Peer):
    name = "onnxruntime"
    packages = ("onnxruntime-genai==0.18.0", "onnxruntime==1.32.0", "onnx", "onnx-ir", "transformers")
    needs_torch = True
    measures = ("speed", "first-token")

    def variants(self, source):
        def build(kind, out):
            precision, *extra = KINDS[kind]
            return [self.python, "-m", "onnxruntime_genai.models.builder", "-m", source.path, "-o", out, "-p", precision, "-e", "cpu",
                    "-c", self.root / "cache", "--extra_options", *extra]
        return self.converted(source, KINDS, ("model.onnx*",), build)


class Model:
    def __init__(self, path, variant, threads):
        import onnxruntime_genai
        self.og = onnxruntime_genai
        config = onnxruntime_genai.Config(path)
        config.overlay('{"model": {"decoder": {"session_options": {"intra_op_num_threads": %d, "inter_op_num_threads": 1}}}}' % threads)
        self.model = onnxruntime_genai.Model(config)

    def generator(self, length):
        parameters = self.og.GeneratorParams(self.model)
        parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
        return self.og.Generator(self.model, parameters)

    def prefill(self, ids):
        self.generator(len(ids) + 2).append_tokens(ids)

    def decode(self, bos, count):
        """append_tokens computes the first token's logits, each generate_next_token picks one and computes the next ones."""
        generator = self.generator(count + 3)
        generator.append_tokens([bos])
        for _ in range(count):
            generator.generate_next_token()


if __name__ == "__main__":
    serve(Model)
