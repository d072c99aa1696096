// A recipe: a named system as data. recipes/gptq.yaml says
//
//     schema: 1
//     summary: column-wise rounding with error feedback
//     format: {bits: 4, group: 64}            # or a label: int4_g64
//     rounder: gptq                           # or {name: gptq, block: 64}
//     calibration: {data: auto, samples: 32, length: 512, windows: gptq}
//     sequential: true
//     keep: [embedding, head]
//     overrides:
//       - {roles: [mlp_down], layers: "0-3,7", format: int8}
//
// and a program
//
//     Recipe r = load_recipe("gptq_int4_g64", *context.env);   // library.h
//     r.sequential = false;                                    // as flags of the command line do
//     resolve(r, parts);
//     Json json = to_json(r);     // fully resolved: every option of every part with its value
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/format/format.h"
#include "halftone/format/plan.h"
#include "halftone/pack/packed_model.h"
#include "halftone/recipe/allocator.h"
#include "halftone/recipe/part.h"
#include "halftone/recipe/rounder.h"
#include "halftone/spec/model_spec.h"

namespace halftone::recipe {

// What calibration text is and how samples are cut out of it (recipe/calibration.h).
constexpr int64_t kMostSamples = 1'000'000, kLongestSample = 1'048'576;  // tokens

struct CalibrationRequest {
  std::string data = "auto";  // auto, wikitext2, c4, ptb, self, or a path: .txt .jsonl .parquet
  int64_t samples = 32, length = 512;
  uint64_t seed = 0;
  // document: documents in seeded order, packed end to end, cut without overlap.
  // gptq:     random windows of the joined text, drawn as the GPTQ scripts draw them.
  enum class Windows : uint8_t { document, gptq } windows = Windows::document;
  // auto: where the tokenizer itself would put it (document: before each document, gptq: once
  // before the whole text).
  enum class Bos : uint8_t { auto_, never, each_sample } bos = Bos::auto_;
  bool chat_template = false;  // each document is a user's turn in the model's chat template
  bool operator==(const CalibrationRequest&) const = default;
};

// Later overrides win over earlier ones, key by key. A linear matches when it fits every condition
// that is given.
struct Override {
  std::vector<spec::Role> roles;
  std::vector<std::pair<int64_t, int64_t>>
      layers;                    // first..last, both included; last = -1: to the end
  std::vector<std::string> ops;  // exact op names
  std::optional<Json> format;    // label, or keys that change the recipe's format
  std::optional<Part> rounder;
  std::optional<bool> keep;
  bool operator==(const Override&) const = default;
};

struct LayoutChoice {
  pack::Layout layout = pack::Layout::halftone;  // halftone: pure compressed-tensors wherever that
                                                 // can hold everything
  int64_t gptq_version = 0;                      // 0: v1 when every format is symmetric, else v2
  bool operator==(const LayoutChoice&) const = default;
};
// As recipes and the flag --layout name them: halftone, gptq, gptq_v1, gptq_v2.
std::vector<std::string> layout_names();
LayoutChoice layout_named(std::string_view name);  // InputError with the names

struct Recipe {
  static constexpr int64_t kSchema = 1;
  std::string name, summary;
  format::Format format;
  std::vector<Part> transforms;
  Part allocator;  // empty name: by_list when overrides change formats, else uniform
  Part rounder{"nearest"};
  std::vector<Part> correctors;
  std::optional<Part> trainer;
  std::optional<CalibrationRequest> calibration;  // absent once resolved when no part needs it
  // GPTQ's true_sequential: later linears of a block see the rounded earlier ones
  bool sequential = true;
  std::vector<std::string> keep = {"embedding", "head", "pooler",
                                   "classifier"};  // roles or op names that stay dense
  std::vector<Override> overrides;
  DType dense_dtype = DType::f16;  // of everything that is not quantized
  LayoutChoice layout;
  bool operator==(const Recipe&) const = default;
};

// The tables that recipes are resolved against. Programs that embed the library add their own
// entries.
struct Parts {
  Table<transform::Entry> transforms;
  Table<allocator::Entry> allocators;
  Table<rounder::Entry> rounders;
  Table<corrector::Entry> correctors;
  Table<trainer::Entry> trainers;
};
Parts builtin_parts();

// Keys of one recipe. `name` is its name for users, `subject` what errors call it. InputError:
// unknown key (with the nearest), wrong type, bad layer range, unknown role ...
Recipe recipe_from_json(const Json& json, const std::string& name, const std::string& subject);
Json to_json(const Recipe& recipe);

// Fills in every default and checks what can be checked without a model: names, options, clashes
// between parts (UnsupportedError naming both and why). Drops the calibration nobody needs.
// Idempotent.
void resolve(Recipe& recipe, const Parts& parts);

// What the parts of a resolved recipe need, over all linears.
std::set<Need> needs(const Recipe& recipe, const Parts& parts);

// A resolved recipe meets a model: what happens to each linear.
struct Choice {
  std::string op;
  int64_t segment = 0;  // index into blocks; blocks.size(): epilogue
  int64_t out = 0, in = 0;
  format::Format format;
  Part rounder;
  bool scattered = false;  // its rounder forms groups out of the order of the columns
};
struct Assignment {
  format::Plan plan;
  std::vector<Choice> choices;    // in execution order, planned linears only
  std::vector<std::string> kept;  // linears that stay dense
};
// InputError for overrides and keeps that match nothing, layers past the end; UnsupportedError for
// what cannot be done (a rounder that needs calibration outside of the blocks, a tied head).
Assignment assign(const Recipe& recipe, const spec::ModelSpec& spec, const Parts& parts);

// "0-3,7,28-" -> {{0,3},{7,7},{28,-1}}
std::vector<std::pair<int64_t, int64_t>> parse_layers(const std::string& text,
                                                      const std::string& subject);
bool matches(const Override& rule, const spec::LinearRef& linear);

}  // namespace halftone::recipe
