// Tokenizer files by their first byte: 0 tokenizer.json, 1 SentencePiece, 2 tiktoken ranks, 3
// vocab.txt. Whatever is accepted encodes and decodes.
#include <string>

#include "fuzz/fuzz.h"
#include "halftone/text/sentencepiece.h"
#include "halftone/text/tokenizer.h"
#include "halftone/text/vocabulary_files.h"

using namespace halftone;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  Limits limits;
  limits.encode_bytes = 4096;
  limits.encode_tokens = 4096;
  fuzz::accepts([&] {
    const auto open = [&]() -> text::Tokenizer {
      switch (data[0] % 4) {
        case 0:
          return text::Tokenizer::from_json(rest, "tokenizer.json", {}, limits);
        case 1:
          return text::tokenizer_from_sentencepiece(
              text::read_sentencepiece(fuzz::as_span(data + 1, size - 1), "t.model", limits),
              "t.model", {}, limits);
        case 2:
          return text::tokenizer_from_tiktoken(rest, "gpt-2", "t.tiktoken", {}, limits);
        default:
          return text::tokenizer_from_vocab_txt(rest, "vocab.txt", {}, limits);
      }
    };
    const text::Tokenizer tokenizer = open();
    for (const char* sample :
         {"", "ab c", "Hello W\xc3\xb6rld \xf0\x9f\x98\x80 12,345\n\n", "<s>a</s>"}) {
      fuzz::accepts([&] {
        for (const int32_t id : tokenizer.encode(sample))
          fuzz::require(id >= 0 && id < tokenizer.vocab_size(), "ids lie in the vocabulary");
        tokenizer.decode(tokenizer.encode(sample));
      });
    }
  });
  return 0;
}
