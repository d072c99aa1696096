#include "halftone/text/tokenizer.h"

#include <algorithm>
#include <functional>
#include <mutex>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/text/bpe_tables.h"
#include "halftone/text/byte_level.h"
#include "halftone/text/tokenizer_check.h"
#include "halftone/text/tokenizer_json.h"
#include "halftone_bridge/src/lib.rs.h"
#include "rust/cxx.h"

namespace halftone::text {

// The model of a file whose vocabulary and merges are not in its JSON.
struct FlatModel {
  std::vector<uint32_t> merges, spans;
  size_t text_bytes = 0;  // of the vocabulary; added tokens, which the model does not know, follow
};

struct Tokenizer::Impl {
  explicit Impl(rust::Box<bridge::TokenizerHandle> h) : handle(std::move(h)) {}
  rust::Box<bridge::TokenizerHandle> handle;
  TokenizerFacts facts;
  std::vector<bool> special_flags;
  SpecialIds special;
  std::vector<int32_t> prefix, suffix;
  std::string source;
  // What json() gives, or how it is made at the first call.
  std::string json;
  std::function<std::string()> make_json;
  std::once_flag json_made;
  uint64_t most_bytes = 0, most_tokens = 0;

  void find_special(const Tokenizer& self, const TokenizerConfig& config);
  [[noreturn]] void gave_up(std::string_view doing, const rust::Error& e) const {
    throw FileError(Code::value, source, std::string(doing) + ": " + quote(e.what()));
  }
  // The text as Rust may see it.
  rust::Str check_text(std::string_view text) const {
    if (text.size() > most_bytes)
      throw FileError(Code::limit, source,
                      "a text of " + std::to_string(text.size()) + " bytes is longer than " +
                          std::to_string(most_bytes),
                      {}, "split it into documents");
    if (!valid_utf8(text)) throw FileError(Code::utf8, source, "the text to encode is not UTF-8");
    return rust::Str(text.data(), text.size());
  }
  std::vector<int32_t> take(const rust::Vec<int32_t>& ids_) const {
    if (ids_.size() > most_tokens)
      throw FileError(Code::limit, source,
                      "a text became more than " + std::to_string(most_tokens) + " tokens");
    return {ids_.begin(), ids_.end()};
  }
};

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

std::optional<TokenName> find_token(const TokenizerFacts& facts,
                                    const std::optional<std::string>& text) {
  if (!text) return {};
  for (const AddedToken& token : facts.added)
    if (token.content == *text) return TokenName{token.content, token.id};
  const auto id = facts.tokens.find(*text);
  if (!id) return {};
  return TokenName{*text, *id};
}

// Applies what the configuration says explicitly; true when `root` changed.
bool apply_config(Json& root, const TokenizerFacts& facts, const TokenizerConfig& config) {
  bool changed = false;
  for (const char* key : {"padding", "truncation"}) {
    if (const auto it = root.find(key); it != root.end() && !it->is_null()) {
      *it = nullptr;
      changed = true;
    }
  }
  if (!config.add_bos && !config.add_eos) return changed;
  const auto it = root.find("post_processor");
  if (it != root.end() && it->is_object()) {
    const std::string kind = it->value("type", "");
    if (kind == "BertProcessing" || kind == "RobertaProcessing") return changed;
  }
  root["post_processor"] = bos_eos_processor(
      config.add_bos.value_or(false) ? find_token(facts, config.bos) : std::nullopt,
      config.add_eos.value_or(false) ? find_token(facts, config.eos) : std::nullopt);
  return true;
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& source,
                               const TokenizerConfig& config, const Limits& limits) {
  if (auto tables = read_bpe_tables(json, limits)) {
    try {
      return from_tables(std::move(*tables), json, source, config, limits);
    } catch (const Error&) {
      // That way is for files without fault; the long one below tells what is wrong.
    }
  }
  Json root = parse_json(json, source, limits);
  TokenizerFacts facts = check_tokenizer(root, source, limits);
  std::string text = apply_config(root, facts, config) ? root.dump() : std::string(json);
  root = nullptr;
  return make(std::move(text), std::move(facts), source, config, limits);
}

Tokenizer Tokenizer::from_root(Json root, const std::string& source, const TokenizerConfig& config,
                               const Limits& limits) {
  if (const auto model = root.find("model");
      model != root.end() && model->is_object() && model->value("type", Json()) == "BPE") {
    const std::string text = root.dump();
    root = nullptr;
    return from_json(text, source, config, limits);
  }
  TokenizerFacts facts = check_tokenizer(root, source, limits);
  apply_config(root, facts, config);
  std::string text = root.dump();
  root = nullptr;
  return make(std::move(text), std::move(facts), source, config, limits);
}

Tokenizer Tokenizer::from_tables(BpeTables tables, std::string_view json, const std::string& source,
                                 const TokenizerConfig& config, const Limits& limits) {
  Json root = parse_json(tables.rest, source, limits);
  const auto spans = tables.tokens.spans();
  const FlatModel flat{
      std::move(tables.merges), {spans.begin(), spans.end()}, tables.tokens.text().size()};
  TokenizerFacts facts = check_tokenizer(root, std::move(tables.tokens), source, limits);
  const Json& model = root.at("model");
  for (const char* mark : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const auto it = model.find(mark); it != model.end() && !it->is_null())
      throw UnsupportedError(source, "has marks on subwords", "the crate's tables");
  if (facts.model != "BPE" || !model.contains("type"))
    throw UnsupportedError(source, "is no BPE", "the crate's tables");
  const bool changed = apply_config(root, facts, config);
  Tokenizer out = make(changed ? root.dump() : std::move(tables.rest), std::move(facts), source,
                       config, limits, &flat);
  if (changed) {
    out.impl_->make_json = [text = std::string(json), impl = out.impl_.get(), config, limits] {
      Json whole = parse_json(text, impl->source, limits);
      apply_config(whole, impl->facts, config);
      return whole.dump();
    };
  } else {
    out.impl_->json = std::string(json);
  }
  return out;
}

Tokenizer Tokenizer::make(std::string text, TokenizerFacts facts, const std::string& source,
                          const TokenizerConfig& config, const Limits& limits,
                          const FlatModel* flat) {
  std::unique_ptr<Impl> impl;
  try {
    const rust::Slice<const uint8_t> json{reinterpret_cast<const uint8_t*>(text.data()),
                                          text.size()};
    if (flat != nullptr) {
      impl = std::make_unique<Impl>(bridge::tokenizer_from_flat(
          json, rust::Str(facts.tokens.text().data(), flat->text_bytes),
          {flat->spans.data(), flat->spans.size()}, {flat->merges.data(), flat->merges.size()}));
    } else {
      impl = std::make_unique<Impl>(bridge::tokenizer_from_json(json));
    }
    // The crate numbers added tokens itself; a file that meant other ids would be encoded wrongly.
    for (const AddedToken& token : facts.added) {
      const int64_t id = impl->handle->token_to_id(rust::Str(token.content));
      if (id != token.id)
        throw FileError(Code::mismatch, source,
                        "added token " + quote(token.content) + " has id " +
                            std::to_string(token.id) + " but would be given " + std::to_string(id));
    }
  } catch (const rust::Error& e) {
    throw FileError(Code::value, source, std::string("not a usable tokenizer: ") + quote(e.what()));
  }
  impl->facts = std::move(facts);
  impl->json = std::move(text);
  impl->source = source;
  impl->most_tokens = limits.encode_tokens;
  // One text may not become more than 1 GiB while it is normalized.
  impl->most_bytes =
      std::min(limits.encode_bytes,
               static_cast<uint64_t>(static_cast<double>(1ull << 30) / impl->facts.growth));

  impl->special_flags.resize(static_cast<size_t>(impl->facts.tokens.size()));
  for (const AddedToken& token : impl->facts.added)
    impl->special_flags[static_cast<size_t>(token.id)] = token.special;

  Tokenizer out(std::move(impl));
  out.impl_->find_special(out, config);
  return out;
}

void Tokenizer::Impl::find_special(const Tokenizer& self, const TokenizerConfig& config) {
  const auto named = [&](const std::optional<std::string>& name) -> std::optional<int32_t> {
    return name ? self.id_of(*name) : std::nullopt;
  };
  special = {named(config.bos), named(config.eos), named(config.pad),  named(config.unk),
             named(config.cls), named(config.sep), named(config.mask), config.eos_ids};
  if (!special.unk && !facts.unk_token.empty()) special.unk = self.id_of(facts.unk_token);
  // A tokenizer.json alone does not say what its special tokens are for: their usual names do.
  if (!config.bos && !config.eos && !config.cls) {
    const auto usual = [&](std::optional<int32_t>& slot, std::initializer_list<const char*> names) {
      for (const char* name : names)
        if (const auto id = self.id_of(name); !slot && id && self.is_special(*id)) slot = id;
    };
    usual(special.cls, {"[CLS]"});
    usual(special.sep, {"[SEP]"});
    usual(special.pad, {"[PAD]", "<pad>"});
    usual(special.mask, {"[MASK]", "<mask>"});
    usual(special.bos, {"<s>", "<bos>", "<|begin_of_text|>"});
    usual(special.eos, {"</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"});
  }

  // What surrounds every text shows on a short one.
  const auto bare = self.encode("a", false), full = self.encode("a", true);
  const auto at = std::search(full.begin(), full.end(), bare.begin(), bare.end());
  if (at == full.end() && !bare.empty())
    throw FileError(Code::value, source, "the post-processor changes the text's own tokens");
  prefix.assign(full.begin(), at);
  suffix.assign(at + static_cast<std::ptrdiff_t>(bare.size()), full.end());
  if (!special.bos && !special.cls && !prefix.empty()) special.bos = prefix.front();

  auto& ends = special.eos_ids;
  if (special.eos) ends.push_back(*special.eos);
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  const rust::Str input = impl_->check_text(text);
  try {
    return impl_->take(impl_->handle->encode(input, add_special));
  } catch (const rust::Error& e) {
    impl_->gave_up("cannot encode this text", e);
  }
}

PairEncoding Tokenizer::encode_pair(std::string_view a, std::string_view b,
                                    bool add_special) const {
  const rust::Str first = impl_->check_text(a), second = impl_->check_text(b);
  try {
    const bridge::Encoded out = impl_->handle->encode_pair(first, second, add_special);
    return {impl_->take(out.ids), impl_->take(out.type_ids)};
  } catch (const rust::Error& e) {
    impl_->gave_up("cannot encode these texts", e);
  }
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<uint32_t> known;
  known.reserve(ids.size());
  for (const int32_t id : ids)
    if (!token(id).empty()) known.push_back(static_cast<uint32_t>(id));
  try {
    return std::string(impl_->handle->decode({known.data(), known.size()}, skip_special));
  } catch (const rust::Error& e) {
    impl_->gave_up("cannot decode these ids", e);
  }
}

int64_t Tokenizer::vocab_size() const { return impl_->facts.tokens.size(); }

std::string_view Tokenizer::token(int32_t id) const { return impl_->facts.tokens[id]; }

std::string Tokenizer::token_bytes(int32_t id) const {
  const std::string_view text = token(id);
  const TokenizerFacts& facts = impl_->facts;
  for (const AddedToken& added : facts.added)
    if (added.id == id) return std::string(text);
  if (facts.byte_fallback && text.size() == 6 && text.starts_with("<0x") && text.back() == '>') {
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    if (high >= 0 && low >= 0) return std::string(1, static_cast<char>(high << 4 | low));
  }
  if (facts.byte_level) return from_byte_level(text);
  std::string out(text);
  if (facts.metaspace) replace_all(out, "\u2581", " ");
  if (!facts.word_prefix.empty()) {
    if (out.starts_with(facts.word_prefix)) {
      out.erase(0, facts.word_prefix.size());
    } else {
      out.insert(0, " ");
    }
  }
  return out;
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  return impl_->facts.tokens.find(token);
}

bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < impl_->special_flags.size() &&
         impl_->special_flags[static_cast<size_t>(id)];
}

const SpecialIds& Tokenizer::special() const { return impl_->special; }
bool Tokenizer::adds_bos() const {
  return !impl_->prefix.empty() && impl_->special.bos == impl_->prefix.front();
}
const std::vector<int32_t>& Tokenizer::prefix() const { return impl_->prefix; }
const std::vector<int32_t>& Tokenizer::suffix() const { return impl_->suffix; }
const std::string& Tokenizer::json() const {
  std::call_once(impl_->json_made, [this] {
    if (impl_->make_json) impl_->json = std::exchange(impl_->make_json, nullptr)();
  });
  return impl_->json;
}
const std::string& Tokenizer::source() const { return impl_->source; }

void Tokenizer::check_fits(int64_t rows, const std::string& subject) const {
  if (vocab_size() <= rows) return;
  throw FileError(Code::mismatch, subject,
                  "the tokenizer has ids up to " + std::to_string(vocab_size() - 1) + " (" +
                      quote(token(static_cast<int32_t>(vocab_size() - 1))) +
                      ") but the embedding has " + std::to_string(rows) + " rows",
                  {}, "use the tokenizer that belongs to this model");
}

}  // namespace halftone::text
