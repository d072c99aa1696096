#!/usr/bin/env python3
"""Seeds of the fuzz corpora: small good files and the malformed ones that readers must refuse.

  python3 tests/corpus/make.py        # standard library only; writes tests/corpus/<format>/seed_*

Files named otherwise were found by fuzzing: each is the smallest input of a crash that was fixed. They stay.
"""
import io
import json
import pathlib
import struct
import zipfile

HERE = pathlib.Path(__file__).resolve().parent


def put(kind, name, data):
    folder = HERE / kind
    folder.mkdir(exist_ok=True)
    (folder / f"seed_{name}").write_bytes(data if isinstance(data, bytes) else data.encode())


u8, u16, u32, u64 = (lambda v, f=f: struct.pack("<" + f, v) for f in "BHIQ")
ALL = 2**64 - 1

# safetensors ---------------------------------------------------------------------------------------------------------


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def st(header, data=0, length=None):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    return u64(len(text.encode()) if length is None else length) + text.encode() + b"\1" * data


good = {"__metadata__": {"format": "pt"}, "a": entry("F32", [2, 3], 0, 24), "b.c": entry("BF16", [], 24, 26),
        "e": entry("I64", [0, 4], 26, 26), "f": entry("F4", [4], 26, 28), "g": entry("U8", [1], 28, 29)}
put("safetensors", "good", st(good, 29))
put("safetensors", "header_only", json.dumps(good))
put("safetensors", "empty", st("{}"))
put("safetensors", "padded", st("{}      "))
for name, length in [("zero", 0), ("past", 100), ("wrap", 2**63 - 4), ("all", ALL), ("cap", 100_000_001)]:
    put("safetensors", "length_" + name, st("{}", 0, length))
put("safetensors", "cut", st(good, 28))
put("safetensors", "polyglot", st(good, 40))
put("safetensors", "overlap", st({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 3, 7)}, 7))
put("safetensors", "hole", st({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 5, 9)}, 9))
put("safetensors", "twice", st('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2))
put("safetensors", "wrap_product", st({"a": entry("F64", [2**32, 2**32], 0, 8)}, 8))
put("safetensors", "negative", st('{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', 1))
put("safetensors", "deep", st('{"a":' + "[" * 300))
put("safetensors", "rank", st({"a": entry("U8", [1] * 300, 0, 1)}, 1))
put("safetensors", "bad_utf8", u64(9) + b'{"\xff":{}}')
put("safetensors", "lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
put("safetensors", "html", "<!DOCTYPE html><html><body>not found</body></html>")

# GGUF ----------------------------------------------------------------------------------------------------------------


def s(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return u64(len(raw)) + raw


def kv(key, kind, value):
    return s(key) + u32(kind) + value


def array(kind, values):
    return u32(kind) + u64(len(values)) + b"".join(values)


def tensor(name, dims, kind, offset):
    return s(name) + u32(len(dims)) + b"".join(u64(d) for d in dims) + u32(kind) + u64(offset)


def gguf(keys=(), tensors=(), data=0, version=3, n_tensors=None, n_keys=None, align=32):
    out = b"GGUF" + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors) + u64(len(keys) if n_keys is None else n_keys)
    out += b"".join(keys) + b"".join(tensors)
    return out + b"\0" * (-len(out) % align) + bytes(i * 37 % 256 for i in range(data))


t = "tokenizer.ggml."
model = [kv("general.architecture", 8, s("llama")), kv("llama.block_count", 4, u32(2)), kv("llama.embedding_length", 4, u32(64)),
         kv("llama.attention.head_count", 4, u32(8)), kv("llama.attention.head_count_kv", 4, u32(2)), kv("llama.context_length", 4, u32(128)),
         kv("llama.rope.freq_base", 6, struct.pack("<f", 1e4)), kv(t + "model", 8, s("gpt2")), kv(t + "tokens", 9, array(8, [s("a"), s("b"), s("ab")])),
         kv(t + "scores", 9, array(6, [struct.pack("<f", -i) for i in range(3)])), kv(t + "token_type", 9, array(5, [u32(1)] * 3)),
         kv(t + "merges", 9, array(8, [s("a b")])), kv(t + "bos_token_id", 4, u32(1)), kv("tokenizer.chat_template", 8, s("{{ x }}"))]
put("gguf", "model", gguf(model, [tensor("token_embd.weight", [64, 3], 0, 0), tensor("blk.0.attn_q.weight", [64, 4], 2, 768)], 768 + 160))
kinds = [kv(f"k{i}", i, v) for i, v in [(0, u8(1)), (1, b"\xff"), (2, u16(2)), (3, u16(65535)), (4, u32(4)), (5, u32(2**32 - 1)), (6, struct.pack("<f", 1.5)),
                                        (7, u8(7)), (8, s("text")), (10, u64(ALL)), (11, u64(ALL)), (12, struct.pack("<d", 2.5))]]
put("gguf", "kinds", gguf(kinds))
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176),
          14: (256, 210), 20: (32, 18), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2), 34: (256, 54), 35: (256, 66),
          39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18)}
rows, offset = [], 0
for kind, (n, size) in BLOCKS.items():
    rows.append(tensor(f"t{kind}", [n, 2], kind, offset))
    offset += -(-2 * size // 32) * 32
put("gguf", "every_type", gguf((), rows, offset))
put("gguf", "lattice", gguf((), [tensor("t", [256], 16, 0)], 96))
put("gguf", "aligned64", gguf([kv("general.alignment", 4, u32(64))], [tensor("t", [1], 0, 0), tensor("u", [1], 0, 64)], 128, align=64))
put("gguf", "split", gguf([kv("split.no", 2, u16(0)), kv("split.count", 2, u16(2))], [tensor("t", [1], 0, 0)], 32))
for version in (0, 1, 2, 99, 0x03000000):
    put("gguf", f"version_{version}", gguf(version=version))
put("gguf", "four_bytes", b"GGUF")
put("gguf", "tensors_all", gguf(n_tensors=ALL))
put("gguf", "keys_4g", gguf(n_keys=2**32))
put("gguf", "key_one_too_many", gguf([kv("x", 4, u32(1))], n_keys=2))
put("gguf", "key_length_all", gguf([u64(ALL) + b"key"]))
put("gguf", "string_2_40", gguf([kv("x", 8, u64(2**40) + b"s")]))
put("gguf", "array_2_60", gguf([kv("x", 9, u32(8) + u64(2**60))]))
put("gguf", "array_wraps", gguf([kv("x", 9, u32(10) + u64(2**61 + 1))]))
put("gguf", "array_in_array", gguf([kv("x", 9, (u32(9) + u64(1)) * 50)]))
for a in (0, 13, 2**31):
    put("gguf", f"alignment_{a}", gguf([kv("general.alignment", 4, u32(a))], [tensor("t", [1], 0, 0)], 32))
for name, dims, kind, at in [("dims5", [1] * 5, 0, 0), ("dim0", [0], 0, 0), ("dim_negative", [ALL], 0, 0), ("product_wraps", [2**32, 2**32], 0, 0),
                             ("bytes_wrap", [2**61], 28, 0), ("padding_wraps", [2**60 - 1], 28, 0), ("type_255", [1], 255, 0), ("type_removed", [32], 4, 0),
                             ("row", [33], 2, 0), ("unaligned", [1], 0, 33), ("past", [1], 0, 1 << 20), ("offset_wraps", [1], 0, ALL - 31), ("large", [1 << 20], 0, 0)]:
    put("gguf", name, gguf((), [tensor("t", dims, kind, at)], 64))
put("gguf", "shared", gguf((), [tensor("t", [1], 0, 0), tensor("u", [1], 0, 0)], 64))
put("gguf", "name_twice", gguf((), [tensor("t", [1], 0, 0), tensor("t", [1], 0, 32)], 64))
put("gguf", "name_64", gguf((), [tensor("n" * 64, [1], 0, 0)], 64))
put("gguf", "after_counts", bytes([1, 1]) + kv("x", 4, u32(1)) + tensor("t", [4], 0, 0) + b"\0" * 64)

# pickles and the archives around them ------------------------------------------------------------------------------------


def text(v):
    return b"X" + u32(len(v.encode())) + v.encode()


def num(v):
    return b"J" + struct.pack("<i", v)


def big(v):
    return b"\x8a\x08" + struct.pack("<q", v)


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def storage(kind="FloatStorage", key="0", count=4, module="torch"):
    return tup(text("storage"), glob(module, kind), text(key), text("cpu"), num(count)) + b"Q"


ORDERED = glob("collections", "OrderedDict") + b")R"


def v2(store=None, offset=None, size=None, stride=None, more=b""):
    return glob("torch._utils", "_rebuild_tensor_v2") + tup(store or storage(), offset or num(0), size or tup(num(2), num(2)),
                                                            stride or tup(num(2), num(1)), b"\x89", ORDERED, more) + b"R"


def program(body):
    return b"\x80\x02" + body + b"."


def state(rows):
    return program(b"}(" + b"".join(text(k) + v for k, v in rows) + b"u")


tensor_v3 = glob("torch._utils", "_rebuild_tensor_v3") + tup(storage("UntypedStorage", "0", 16, "torch.storage"), num(0), tup(num(4)), tup(num(1)), b"\x89",
                                                             ORDERED, glob("torch", "float8_e4m3fn")) + b"R"


def short(v):
    return b"\x8c" + u8(len(v)) + v.encode() + b"\x94"


ORDERED4 = short("collections") + short("OrderedDict") + b"\x93\x94)R\x94"
STORAGE4 = b"(" + short("storage") + short("torch") + short("FloatStorage") + b"\x93\x94" + short("0") + short("cpu") + b"K\x04t\x94Q"
BODY4 = (b"}\x94(" + short("w") + short("torch._utils") + short("_rebuild_tensor_v2") + b"\x93\x94(" + STORAGE4 + b"K\0K\2K\2\x86\x94K\2K\1\x86\x94\x89" +
         ORDERED4 + b"t\x94R\x94u.")
pickles = {
    "good": state([("w", v2())]),
    "module": program(ORDERED + b"q\x00(" + text("w") + v2() + text("step") + num(3) + text("lr") + b"G" + b"\0" * 8 + b"uh\x000}b"),
    "v3": state([("w", tensor_v3)]),
    "parameter": state([("w", glob("torch._utils", "_rebuild_parameter") + tup(v2(), b"\x88", ORDERED) + b"R")]),
    "nested": state([("state_dict", b"}(" + text("w") + v2() + b"u"), ("epoch", b"K\x03")]),
    "protocol4": b"\x80\x04\x95" + u64(len(BODY4)) + BODY4,
    "strided": state([("w", v2(size=tup(num(2), num(2)), stride=tup(num(1), num(2))))]),
    "metadata": state([("w", v2(more=b"}"))]),
    "size_and_device": state([("s", glob("torch", "Size") + tup(tup(num(1), num(2))) + b"R"), ("d", glob("torch", "device") + tup(text("cpu")) + b"R")]),
    "system": program(glob("os", "system") + tup(text("true")) + b"R"),
    "before_pop": program(glob("os", "system") + tup(text("true")) + b"R0}"),
    "stack_global": program(text("os") + text("system") + b"\x93"),
    "inst": program(b"(ios\nsystem\n"),
    "second": state([]) + state([]),
    "value": state([("w", glob("torch", "FloatStorage"))]),
    "no_mark": program(b"}t"),
    "no_stop": b"\x80\x02}",
    "memo": program(b"}j\xff\xff\xff\xff0"),
    "huge_string": program(b"X" + u32(2**31)),
    "frame": program(b"\x95" + u64(ALL) + b"}"),
    "cycle": program(b"]q\x01h\x01a"),
    "shared": program(b")" + b"".join(b"q" + u8(i) + b"h" + u8(i) + b"\x86" for i in range(64))),
    "nested_tuples": program(b")" + b"\x85" * 5000),
    "stride_0": state([("w", v2(size=tup(big(1 << 40)), stride=tup(num(0))))]),
    "negative": state([("w", v2(offset=num(-1)))]),
    "huge": state([("w", v2(offset=big(2**63 - 1), size=tup(num(2)), stride=tup(num(1))))]),
    "past": state([("w", v2(offset=num(1)))]),
    "wrong_target": program(b"]" + text("a") + num(1) + b"s"),
}
for name, data in pickles.items():
    put("pickle", name, data)


def archive(pickle, record=b"\0" * 16, method=zipfile.ZIP_STORED, extra=()):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in [("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", record), ("m/version", b"3\n"), *extra]:
            z.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
    return out.getvalue()


for name in ("good", "module", "v3", "strided", "nested"):
    put("pytorch", name, archive(pickles[name]))
put("pytorch", "small_record", archive(pickles["good"], b"\0" * 15))
put("pytorch", "compressed", archive(pickles["good"], method=zipfile.ZIP_DEFLATED))
put("pytorch", "dotdot", archive(pickles["good"], extra=[("m/../x", b"")]))
put("pytorch", "big_endian", archive(pickles["good"]).replace(b"little", b"big   "))
put("pytorch", "cut", archive(pickles["good"])[:-30])
put("pytorch", "crc", archive(pickles["good"]).replace(b"cpu", b"cpv"))
put("pytorch", "encrypted", archive(pickles["good"]).replace(b"PK\1\2\x14\x03\x14\0\0\0", b"PK\1\2\x14\x03\x14\0\1\0"))
put("pytorch", "seven_zip", b"7z\xbc\xaf\x27\x1c\0\4")

# config.json ---------------------------------------------------------------------------------------------------------
llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
         "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
         "hidden_act": "silu", "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
put("config", "llama", json.dumps(llama))
put("config", "mistral", json.dumps({**llama, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 7, "rope_scaling": None}))
put("config", "gpt2", json.dumps({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_ctx": 64,
                                  "vocab_size": 96, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}))
put("config", "bert", json.dumps({"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                                  "intermediate_size": 64, "vocab_size": 96, "max_position_embeddings": 64, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
                                  "hidden_act": "gelu", "position_embedding_type": "absolute"}))
for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers", "vocab_size", "intermediate_size", "max_position_embeddings"):
    for i, value in enumerate([0, -1, 2**31, 2**63, 32.5, "32", True, [32], 10**9, 2**40]):
        put("config", f"{key}_{i}", json.dumps({**llama, key: value}))
for name, change in {"eps": {"rms_norm_eps": 0}, "theta": {"rope_theta": -1}, "factor": {"rope_scaling": {"rope_type": "linear", "factor": 0}},
                     "scaling": {"rope_scaling": {"rope_type": "swirl"}}, "act": {"hidden_act": "swish9"}, "arch": {"architectures": ["X"], "model_type": "x"},
                     "auto_map": {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "heads": {"num_attention_heads": 5}, "kv3": {"num_key_value_heads": 3}}.items():
    put("config", name, json.dumps({**llama, **change}))
put("config", "cut", json.dumps(llama)[:-9])
put("config", "array", "[1, 2]")
put("config", "deep", "[" * 1000)
put("config", "twice", '{"a": 1, "a": 2}')
put("config", "nan", '{"a": NaN}')
put("config", "huge_number", '{"a": 1e999}')
put("config", "surrogate", '{"a": "\\ud800"}')

# quantization_config --------------------------------------------------------------------------------------------------
weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "block_structure": None, "dynamic": False, "actorder": None}
ct = {"version": "0.18.0", "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed", "ignore": ["lm_head"],
      "kv_cache_scheme": None, "sparsity_config": {}, "transform_config": {},
      "config_groups": {"group_0": {"targets": ["Linear"], "format": "pack-quantized", "weights": weights, "input_activations": None, "output_activations": None},
                        "group_1": {"targets": ["re:.*mlp.*", "model.layers.0.self_attn.q_proj"], "weights": {**weights, "num_bits": 8, "strategy": "channel", "group_size": None},
                                    "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}}}}
gptq = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": False, "lm_head": False, "checkpoint_format": "gptq", "pack_dtype": "int32",
        "dynamic": {"-:.*q_proj": {}, "+:model\\.layers\\.1": {"bits": 8, "group_size": 64}}}
for name, value in {"ct": ct, "preset": {**ct, "config_groups": {"W4A16": ["Linear"]}}, "halftone": {**ct, "quant_method": "halftone"}, "gptq": gptq,
                    "gptq_v2": {**gptq, "checkpoint_format": "gptq_v2"}, "aliases": {"quant_method": "gptq", "wbits": 3, "q_group_size": -1}, "marlin": {**gptq, "is_marlin_format": True},
                    "awq": {"quant_method": "awq", "bits": 4}, "no_method": {"bits": 4}, "regex": {**ct, "ignore": ["re:(a*)*(a*)*b", "re:("]},
                    "bits": {**gptq, "bits": 2**63}, "group": {**gptq, "group_size": 0}, "types": {**ct, "config_groups": [1], "ignore": 7}}.items():
    put("quantization", name, json.dumps(value))

# recipes -------------------------------------------------------------------------------------------------------------
for name, value in {"plain": "format: int4_g64\nrounder: nearest\n",
                    "full": "summary: x\nformat: {kind: int, bits: 3, group: 32, symmetric: false}\nrounder: {name: gptq, damping: 0.02}\nlayout: halftone\n"
                            "calibration: {data: c4, samples: 8, length: 64, windows: gptq, bos: never}\nkeep: [embedding, head]\nsequential: false\n"
                            "overrides:\n  - {roles: [mlp_down, value], layers: '0-3,7', format: int8}\n  - {ops: a.b, rounder: obq, keep: false}\n",
                    "alias": "a: &x [1, 2]\nb: *x\n", "loop": "a: &x [*x]\n", "laughs": "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nd: [*c,*c,*c]\n", "deep": "[" * 200,
                    "blocks": "a: |\n  text\n  more\nb: >-\n  folded\n", "tag": "a: !!python/object:os.system x\n", "twice": "format: int8\nformat: int4_g64\n",
                    "documents": "a: 1\n---\nb: 2\n", "key": "? [1, 2]\n: 3\n", "types": "format: [int8]\nrounder: 7\ncalibration: x\noverrides: {a: 1}\n", "directive": "%YAML 9.9\n--- a\n"}.items():
    put("recipe", name, value)

# tokenizers: the first byte says which kind ------------------------------------------------------------------------------
bpe = {"version": "1.0", "added_tokens": [{"id": 4, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}],
       "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]},
       "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\s+|\\w+"}, "behavior": "Isolated", "invert": False},
       "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                          "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                          "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}}},
       "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}}
unigram = {"added_tokens": [], "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
           "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["\u2581a", -1.5], ["b", -2]], "byte_fallback": False}}
piece = {"added_tokens": [], "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
         "pre_tokenizer": {"type": "BertPreTokenizer"}, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
         "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}}}
for name, value in {"bpe": bpe, "unigram": unigram, "wordpiece": piece, "byte_level": {**bpe, "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                                                                                                                                    "trim_offsets": True, "use_regex": True}}}.items():
    put("text", name, b"\0" + json.dumps(value).encode())


def field(number, kind, payload):
    return u8(number << 3 | kind) + payload


def block(number, data):
    return field(number, 2, u8(len(data)) + data)


def sp_piece(word, score, kind=1):
    return block(1, block(1, word.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, u8(kind)))


pieces = sp_piece("<unk>", 0, 2) + sp_piece("<s>", 0, 3) + sp_piece("</s>", 0, 3)
words = sp_piece("\u2581a", -1) + sp_piece("a", -2) + sp_piece("b", -3) + sp_piece("ab", -0.5) + sp_piece("\u2581", -4)
byte_pieces = b"".join(sp_piece(f"<0x{i:02X}>", 0, 6) for i in range(256))
for name, kind in (("spm_unigram", 1), ("spm_bpe", 2), ("spm_word", 3)):
    put("text", name, b"\1" + pieces + words + block(2, field(3, 0, u8(kind))))
put("text", "spm_bytes", b"\1" + pieces + byte_pieces + words + block(2, field(3, 0, u8(2)) + b"\x98\x02\1") + block(3, block(2, b"\x08\0\0\0" + b"\1" * 12)))
put("text", "tiktoken", b"\2YQ== 0\nYg== 1\nYWI= 2\nIA== 3\n")
put("text", "vocab", b"\3[UNK]\n[CLS]\n[SEP]\na\n##b\n")
put("text", "vocab_utf8", b"\3[UNK]\nab\xc0\n")
