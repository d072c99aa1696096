#!/usr/bin/env python3
"""Makes a LLaMA-shaped model of random weights, for memory and time measurements that need a size rather than a skill.

  python3 tests/tools/make_llama_shape.py OUT --tokenizer FOLDER [--layers 4] [--width 4096] [--mlp 11008] [--heads 32] [--kv-heads 32]

The defaults are LLaMA-7B's dimensions with 4 blocks. The vocabulary is the tokenizer's. Weights are normal with 0.02, norms 1, stored in f16, written
tensor by tensor. Needs numpy only.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="folder with the tokenizer's files and a config.json that names its vocab_size")
for name, value in {"layers": 4, "width": 4096, "mlp": 11008, "heads": 32, "kv-heads": 32, "seed": 0}.items():
    parser.add_argument(f"--{name}", type=int, default=value)
args = parser.parse_args()

source = json.loads((args.tokenizer / "config.json").read_text())
vocab, dim = source["vocab_size"], args.width // args.heads
shapes = {"model.embed_tokens.weight": (vocab, args.width)}
for i in range(args.layers):
    p = f"model.layers.{i}."
    shapes |= {p + "input_layernorm.weight": (args.width,), p + "post_attention_layernorm.weight": (args.width,),
               p + "self_attn.q_proj.weight": (args.width, args.width), p + "self_attn.k_proj.weight": (args.kv_heads * dim, args.width),
               p + "self_attn.v_proj.weight": (args.kv_heads * dim, args.width), p + "self_attn.o_proj.weight": (args.width, args.width),
               p + "mlp.gate_proj.weight": (args.mlp, args.width), p + "mlp.up_proj.weight": (args.mlp, args.width),
               p + "mlp.down_proj.weight": (args.width, args.mlp)}
shapes |= {"model.norm.weight": (args.width,), "lm_head.weight": (vocab, args.width)}

args.out.mkdir(parents=True, exist_ok=True)
header, at = {"__metadata__": {"format": "pt"}}, 0
for name, shape in shapes.items():
    size = 2 * int(np.prod(shape))
    header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + size]}
    at += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
rng = np.random.default_rng(args.seed)
with open(args.out / "model.safetensors", "wb") as f:
    f.write(len(text).to_bytes(8, "little") + text)
    for name, shape in shapes.items():
        values = np.ones(shape, np.float16) if len(shape) == 1 else (0.02 * rng.standard_normal(shape, dtype=np.float32)).astype(np.float16)
        f.write(values.tobytes())
config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": args.width, "intermediate_size": args.mlp,
          "num_hidden_layers": args.layers, "num_attention_heads": args.heads, "num_key_value_heads": args.kv_heads, "head_dim": dim, "vocab_size": vocab,
          "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": False, "dtype": "float16",
          "bos_token_id": source.get("bos_token_id", 1), "eos_token_id": source.get("eos_token_id", 2)}
(args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"):
    if (args.tokenizer / name).exists():
        shutil.copy(args.tokenizer / name, args.out / name)
print(f"{args.out}: {at / 1e6:.0f} MB, {sum(int(np.prod(s)) for s in shapes.values()) / 1e6:.0f} million weights")
