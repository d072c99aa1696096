// Text to token ids and back, for one model.
//
// A Tokenizer is made from whatever a model brings (load.h picks the file): each source is first
// rewritten as the tokenizer.json of Hugging Face, checked, and then run by the tokenizers crate,
// so that there is one engine and one set of rules. Const members are safe from many threads.
// Example:
//     const Tokenizer t = load_tokenizer(context, "models/smollm2");
//     std::vector<int32_t> ids = t.encode("Hello");   // with the special tokens the model expects
//     std::string text = t.decode(ids);               // without them
//
// Errors: FileError naming the source when it is unusable (see tokenizer_check.h); while encoding
// E_UTF8 for text that is not UTF-8, E_LIMIT for text or output beyond Limits, E_VALUE when the
// engine gave up (the object is dead afterwards).
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/limits.h"

namespace halftone::text {

struct BpeTables;
struct FlatModel;
struct TokenizerFacts;

// Ids with a meaning. `eos_ids` holds every id that ends a generation: the tokenizer's own and
// those of generation_config.json.
struct SpecialIds {
  std::optional<int32_t> bos, eos, pad, unk, cls, sep, mask;
  std::vector<int32_t> eos_ids;
  bool operator==(const SpecialIds&) const = default;
};

// A token that the configuration lists (added_tokens_decoder, added_tokens.json).
struct ConfigToken {
  int32_t id = 0;
  std::string content;
  bool special = true, lstrip = false;
};

// What the files beside tokenizer.json say about it (tokenizer_config.json,
// special_tokens_map.json, generation_config.json).
struct TokenizerConfig {
  std::optional<std::string> bos, eos, pad, unk, cls, sep, mask;  // token texts
  std::optional<bool> add_bos,
      add_eos;  // said explicitly: replaces the post-processor, as transformers does
  std::optional<bool> lower_case;  // do_lower_case
  std::vector<int32_t> eos_ids;    // of generation_config.json, else config.json
  std::vector<ConfigToken> added;  // used where the vocabulary file does not know its added tokens
  std::string tokenizer_class;     // "LlamaTokenizer", ...; may be empty
};

struct PairEncoding {
  std::vector<int32_t> ids, type_ids;  // equal lengths
};

class Tokenizer {
 public:
  // `json` is a whole tokenizer.json; `source` names it in errors and reports ("x/tokenizer.json",
  // "x.gguf: gpt2, smollm").
  static Tokenizer from_json(std::string_view json, const std::string& source,
                             const TokenizerConfig& config = {}, const Limits& limits = {});
  // The same from a value at hand, for sources that are rewritten as tokenizer.json.
  static Tokenizer from_root(nlohmann::ordered_json root, const std::string& source,
                             const TokenizerConfig& config, const Limits& limits);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  std::vector<int32_t> encode(std::string_view text, bool add_special = true) const;
  // Two texts as one input of an encoder ([CLS] a [SEP] b [SEP]), with token types.
  PairEncoding encode_pair(std::string_view a, std::string_view b, bool add_special = true) const;
  // Ids outside the vocabulary (padding rows of a model) decode to nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  int64_t vocab_size() const;                // highest id + 1
  std::string_view token(int32_t id) const;  // as the vocabulary writes it ("Ġthe"), "" when unused
  std::string token_bytes(int32_t id) const;  // what it stands for (" the"); specials as written
  std::optional<int32_t> id_of(std::string_view token) const;
  bool is_special(int32_t id) const;

  const SpecialIds& special() const;
  bool adds_bos() const;                       // encode(text) begins with BOS
  const std::vector<int32_t>& prefix() const;  // ids that encode() puts before every text
  const std::vector<int32_t>& suffix() const;  // and after it
  const std::string& json()
      const;  // the tokenizer.json this one runs: to be written beside a packed model
  const std::string& source() const;

  // Throws E_MISMATCH naming `subject` unless every id has a row in an embedding of `rows` rows.
  void check_fits(int64_t rows, const std::string& subject) const;

 private:
  struct Impl;
  static Tokenizer from_tables(BpeTables tables, std::string_view json, const std::string& source,
                               const TokenizerConfig& config, const Limits& limits);
  static Tokenizer make(std::string text, TokenizerFacts facts, const std::string& source,
                        const TokenizerConfig& config, const Limits& limits,
                        const FlatModel* flat = nullptr);
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns a stream of ids into text that only ever grows: bytes of a character that is not complete
// yet are held back. The pieces joined are decode() of all ids, wherever those are valid text. One
// per generation; not shared between threads.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(&tokenizer), skip_special_(skip_special) {}
  // The text goes on after these ids: a first word keeps the space that a decoder strips off the
  // front of a text. Before the first push.
  void follow(std::span<const int32_t> ids);
  std::string push(int32_t id);  // the text that became certain; may be empty
  std::string finish();          // what was held back

 private:
  std::string fresh(
      const std::string& text) const;  // what `text`, the decoded window, adds to what was shown
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::vector<int32_t> ids_;  // a window: some ids already shown, for context, and those held back
  size_t shown_ids_ = 0;
  std::string shown_;  // decode() of the shown part of the window
};

}  // namespace halftone::text
