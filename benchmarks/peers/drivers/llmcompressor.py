"""llm-compressor: its GPTQ with 4 bits in groups of 64 on the CPU, written as compressed-tensors. It only quantizes."""
from .quantizer import BITS, GROUP, QuantizerPeer, main


class LlmCompressor(QuantizerPeer):
    name = "llmcompressor"
    packages = ("llmcompressor==0.14.0.1",)     # wants an older torch than the shared one and brings it, CUDA packages and all: 6 GB


def quantize(model, out, samples):
    import datasets
    import torch
    import transformers
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    weights = QuantizationArgs(num_bits=BITS, type="int", symmetric=True, strategy="group", group_size=GROUP)
    recipe = GPTQModifier(config_groups={"all": QuantizationScheme(targets=["Linear"], weights=weights)}, ignore=["lm_head"])
    data = datasets.Dataset.from_dict({"input_ids": samples, "attention_mask": [[1] * len(ids) for ids in samples]})
    oneshot(model=loaded, dataset=data, recipe=recipe, max_seq_length=len(samples[0]), num_calibration_samples=len(samples))
    loaded.save_pretrained(out, save_compressed=True)


if __name__ == "__main__":
    main(quantize)
