"""OpenVINO GenAI: int4 in groups of 64 and int8, exported by optimum-intel, run by LLMPipeline without its prefix cache."""
from .peer import Peer
from .worker import Generator, serve

KINDS = {"int4_g64": ("int4", "--group-size", "64", "--ratio", "1.0"), "int8": ("int8",)}


class OpenVino(Peer):
    name = "openvino"
    packages = ("openvino-genai==2026.4.1.0", "openvino==2026.4.1", "openvino-tokenizers", "optimum-intel==2.2.0", "nncf")
    needs_torch = True
    measures = ("speed", "first-token")

    def variants(self, source):
        return self.converted(source, KINDS, ("openvino_model.bin",), lambda kind, out: [
            self.python.with_name("optimum-cli"), "export", "openvino", "--model", source.path, "--task", "text-generation-with-past",
            "--weight-format", *KINDS[kind], out])


class Model(Generator):
    def __init__(self, path, variant, threads):
        import numpy
        import openvino
        import openvino_genai
        self.numpy, self.openvino, self.genai = numpy, openvino, openvino_genai
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False         # a repeated prompt would cost nothing
        scheduler.max_num_batched_tokens = 8192         # a prompt goes through in one piece
        self.pipeline = openvino_genai.LLMPipeline(path, "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=threads)

    def generate(self, ids, count):
        ids = self.numpy.array([ids], dtype=self.numpy.int64)
        inputs = self.genai.TokenizedInputs(self.openvino.Tensor(ids), self.openvino.Tensor(self.numpy.ones_like(ids)))
        result = self.pipeline.generate(inputs, self.genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False))
        assert len(result.tokens[0]) == count, len(result.tokens[0])


if __name__ == "__main__":
    serve(Model)
