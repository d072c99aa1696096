"""bitsandbytes in transformers: nf4, fp4 and int8 weights, on the CPU. Its 4-bit weights are made at load, so the bytes are counted in memory."""
import json

from .peer import Peer, Unavailable, Variant
from .worker import serve

KINDS = ("nf4", "fp4", "int8")


class BitsAndBytes(Peer):
    name = "bitsandbytes"
    packages = ("bitsandbytes==0.50.2", "transformers", "accelerate")
    needs_torch = True
    measures = ("speed", "first-token")

    def variants(self, source):
        """The folder itself: quantized at load. Bytes are asked of a worker once and kept."""
        sizes_file = self.root / f"{source.path.name}.bytes.json"
        if not sizes_file.exists():
            sizes = {}
            for kind in KINDS:
                probe = Variant(kind, source.path, 0, 0)
                worker = self.start_worker(probe, 1)
                try:
                    answer, _ = worker.ask({"what": "bytes"})
                finally:
                    worker.close()
                if "error" in answer:
                    raise Unavailable(f"{kind}: {answer['error']}")
                sizes[kind] = answer["values"]["bytes"]
            sizes_file.write_text(json.dumps(sizes))
        sizes = json.loads(sizes_file.read_text())
        return [Variant(kind, source.path, sizes[kind], 8 * sizes[kind] / source.parameters) for kind in KINDS]


class Model:
    def __init__(self, path, variant, threads):
        import torch
        import transformers
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.torch = torch
        kind = (transformers.BitsAndBytesConfig(load_in_8bit=True) if variant == "int8" else
                transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=variant, bnb_4bit_compute_dtype=torch.float32))
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path, quantization_config=kind, dtype=torch.float32,
                                                                       device_map="cpu").eval()

    def bytes(self):
        """Of all parameters and buffers, tied ones once, with the scales that 4-bit parameters carry beside them."""
        seen = {}
        for tensor in [*self.model.parameters(), *self.model.buffers()]:
            seen[tensor.data_ptr()] = tensor.nbytes
            state = getattr(tensor, "quant_state", None)
            if state is not None:
                seen[state.absmax.data_ptr()] = state.absmax.nbytes
        return sum(seen.values())

    def step(self, ids, cache):
        out = self.model(input_ids=self.torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.past_key_values

    def prefill(self, ids):
        with self.torch.inference_mode():
            self.step(ids, None)

    def decode(self, bos, count):
        with self.torch.inference_mode():
            cache = None
            for _ in range(count):
                cache = self.step([bos], cache)


if __name__ == "__main__":
    serve(Model)
