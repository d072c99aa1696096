#include "halftone/text/pre_tokenizers.h"

#include <array>

#include "halftone/base/error.h"

namespace halftone::text {
namespace {

// The patterns are those of the families' own tokenizer.json files.
constexpr const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoder =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBailing =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr const char* kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kDeepseek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBloom = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";

Json split(const char* regex, const char* behavior = "Isolated") {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", behavior},
          {"invert", false}};
}
Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}
Json digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }
Json sequence(std::vector<Json> parts) { return {{"type", "Sequence"}, {"pretokenizers", parts}}; }

enum class Cut {
  gpt2,
  digits_gpt2,
  falcon,
  llama3,
  qwen2,
  qwen35,
  seed_coder,
  bailing,
  gpt4o,
  tekken,
  deepseek3,
  deepseek_coder,
  bloom,
  bloom_digits,
  superbpe,
  unnamed
};

Json cut_rule(Cut cut) {
  const auto one = [](const char* regex) { return sequence({split(regex), byte_level(false)}); };
  switch (cut) {
    case Cut::gpt2:
      return byte_level(true);
    case Cut::digits_gpt2:
      return sequence({digits(true), byte_level(true)});
    case Cut::falcon:
      return sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                       byte_level(true),
                       digits(false),
                       split("[0-9][0-9][0-9]")});
    case Cut::llama3:
      return one(kLlama3);
    case Cut::qwen2:
      return one(kQwen2);
    case Cut::qwen35:
      return one(kQwen35);
    case Cut::seed_coder:
      return one(kSeedCoder);
    case Cut::bailing:
      return one(kBailing);
    case Cut::gpt4o:
      return one(kGpt4o);
    case Cut::tekken:
      return one(kTekken);
    case Cut::deepseek3:
      return sequence({split(R"(\p{N}{1,3})"), split(R"([一-龥\x{3040}-ゟ゠-ヿ]+)"),
                       split(kDeepseek3), byte_level(false)});
    case Cut::deepseek_coder:
      return sequence({split(R"([\r\n])"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"),
                       split(R"([一-龥\x{0800}-一가-퟿]+)"), digits(true), byte_level(false)});
    case Cut::bloom:
      return one(kBloom);
    case Cut::bloom_digits:
      return sequence({split(kBloom), digits(true), byte_level(false)});
    case Cut::superbpe:
      return sequence({split(R"(\p{N}+)"), split(R"((?=(\d{3})+(?!\d)))"), byte_level(false)});
    case Cut::unnamed:
      return sequence({split(R"([\p{P}\$\+<=>\^~\|]+)"), split(kGpt2), split(R"(\p{N}+)"),
                       split("[0-9][0-9][0-9]"), byte_level(false)});
  }
  check(false, "a cut without a rule");
  return nullptr;
}

struct Row {
  const char* name;
  Cut cut;
  bool nfc = false, ignore_merges = false, add_bos = false, add_sep = false;
};

constexpr std::array kRows = {
    Row{"default", Cut::unnamed},
    Row{"gpt-2", Cut::gpt2},
    Row{"phi-2", Cut::gpt2},
    Row{"mpt", Cut::gpt2},
    Row{"olmo", Cut::gpt2},
    Row{"jais", Cut::gpt2},
    Row{"trillion", Cut::gpt2},
    Row{"granite-docling", Cut::gpt2},
    Row{"exaone4", Cut::gpt2},
    Row{"gigachat", Cut::gpt2},
    Row{"a.x-4.0", Cut::gpt2},
    Row{"mellum", Cut::gpt2},
    Row{"jina-es", Cut::gpt2},
    Row{"jina-de", Cut::gpt2},
    Row{"jina-v2-es", Cut::gpt2},
    Row{"jina-v2-de", Cut::gpt2},
    Row{.name = "jina-v1-en", .cut = Cut::gpt2, .add_sep = true},
    Row{.name = "jina-v2-code", .cut = Cut::gpt2, .add_sep = true},
    Row{.name = "roberta-bpe", .cut = Cut::gpt2, .add_sep = true},
    Row{"smollm", Cut::digits_gpt2},
    Row{"starcoder", Cut::digits_gpt2},
    Row{"refact", Cut::digits_gpt2},
    Row{"command-r", Cut::digits_gpt2},
    Row{"codeshell", Cut::digits_gpt2},
    Row{"exaone", Cut::digits_gpt2},
    Row{"minerva-7b", Cut::digits_gpt2},
    Row{"falcon", Cut::falcon},
    Row{"llama-bpe", Cut::llama3, false, true, true},
    Row{"llama3", Cut::llama3, false, true, true},
    Row{"llama-v3", Cut::llama3, false, true, true},
    Row{"falcon3", Cut::llama3, false, true, true},
    Row{"falcon-h1", Cut::llama3, false, true, true},
    Row{"pixtral", Cut::llama3, false, true, true},
    Row{"midm-2.0", Cut::llama3, false, true, true},
    Row{"lfm2", Cut::llama3, false, true, true},
    Row{"dbrx", Cut::llama3},
    Row{"smaug-bpe", Cut::llama3},
    Row{"glm4", Cut::llama3},
    Row{"chatglm-bpe", Cut::llama3},
    Row{"qwen2", Cut::qwen2, true},
    Row{"deepseek-r1-qwen", Cut::qwen2, true},
    Row{"megrez", Cut::qwen2, true},
    Row{"kormo", Cut::qwen2, true},
    Row{"stablelm2", Cut::qwen2},
    Row{"hunyuan", Cut::qwen2},
    Row{"grok-2", Cut::qwen2},
    Row{"qwen35", Cut::qwen35, true},
    Row{"seed-coder", Cut::seed_coder},
    Row{"bailingmoe", Cut::bailing},
    Row{"bailingmoe2", Cut::bailing},
    Row{"llada-moe", Cut::bailing},
    Row{"gpt-4o", Cut::gpt4o},
    Row{"llama4", Cut::gpt4o},
    Row{"minimax-m2", Cut::gpt4o},
    Row{"tekken", Cut::tekken, false, true, true},
    Row{"deepseek-v3", Cut::deepseek3},
    Row{"hunyuan-dense", Cut::deepseek3},
    Row{"deepseek-coder", Cut::deepseek_coder},
    Row{"bloom", Cut::bloom},
    Row{"poro-chat", Cut::bloom},
    Row{"gpt3-finnish", Cut::bloom},
    Row{"viking", Cut::bloom_digits},
    Row{"superbpe", Cut::superbpe},
};

}  // namespace

PreTokenizer pre_tokenizer(std::string_view name, const std::string& path) {
  if (name.empty()) name = "default";
  for (const Row& row : kRows) {
    if (row.name != name) continue;
    return {.pre_tokenizer = cut_rule(row.cut),
            .normalizer = row.nfc ? Json{{"type", "NFC"}} : Json(nullptr),
            .ignore_merges = row.ignore_merges,
            .add_bos = row.add_bos,
            .add_sep = row.add_sep};
  }
  const auto near = nearest_name(name, pre_tokenizer_names());
  throw UnsupportedError(
      path,
      "pre-tokenizer " + quote(name) + " is not known" +
          (near ? ", nearest is " + quote(*near) : ""),
      "use a file that carries its tokenizer.json, or put tokenizer.json beside it");
}

std::vector<std::string> pre_tokenizer_names() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

}  // namespace halftone::text
