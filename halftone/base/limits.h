// Upper bounds for everything a file may claim. One struct, carried by the Context: a program that
// embeds halftone may set others, the command line has no flag for them.
#pragma once

#include <cstdint>

namespace halftone {

struct Limits {
  uint64_t header_json_bytes = 100'000'000;
  uint64_t json_depth = 64;
  uint64_t json_file_bytes = 512ull << 20;  // tokenizer.json of large vocabularies is tens of MB
  uint64_t string_bytes = 16ull << 20;      // one GGUF string value
  uint64_t name_bytes = 256;
  uint64_t gguf_tensor_name_bytes = 63;
  uint64_t rank = 8;
  uint64_t tensors = 200'000;
  uint64_t keys = 100'000;
  uint64_t array_elements = 32ull << 20;
  uint64_t alignment_min = 8, alignment_max = 4096;
  uint64_t layers = 512;
  uint64_t vocabulary = 4ull << 20;
  uint64_t zip_entries = 100'000;
  uint64_t pickle_opcodes = 10'000'000;
  uint64_t pickle_memo = 1'000'000;
  uint64_t template_steps = 1'000'000;
  uint64_t template_output_bytes = 4ull << 20;
  uint64_t template_ms = 200;                     // processor time of one rendering
  uint64_t template_memory_bytes = 256ull << 20;  // what one rendering may allocate
  uint64_t template_source_bytes = 1ull << 20;
  uint64_t template_depth = 100;        // blocks in blocks, brackets in brackets
  uint64_t encode_bytes = 64ull << 20;  // one text
  uint64_t encode_tokens = 32ull << 20;
  uint64_t token_bytes = 64ull << 10;  // one entry of a vocabulary
  uint64_t normalizer_growth = 1024;   // how many bytes one byte of text may become
  uint64_t regex_bytes = 8192, regex_depth = 16, regex_repeat = 256;
};

}  // namespace halftone
