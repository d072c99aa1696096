// Sampling as llama.cpp's users know it; shared by run and chat.
#pragma once

#include <CLI/CLI.hpp>
#include <limits>
#include <optional>

#include "halftone/runtime/sampler.h"

namespace halftone::cli {

struct SamplingOptions {
  bool greedy = false;
  std::optional<uint64_t> seed;
  runtime::SamplerOptions sampler{.temperature = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05};

  void declare(CLI::App& app) {
    app.add_flag("--greedy", greedy, "always the most probable token");
    app.add_option("--temperature", sampler.temperature, "0 is greedy (default 0.8)");
    app.add_option("--top-k", sampler.top_k,
                   "keep the k most probable tokens, 0 = all (default 40)");
    app.add_option("--top-p", sampler.top_p,
                   "keep the most probable tokens up to this sum (default 0.95)");
    app.add_option("--min-p", sampler.min_p,
                   "drop tokens below this share of the best one (default 0.05)");
    app.add_option("--repetition-penalty", sampler.repetition_penalty, "1 = off (default)");
    app.add_option("--seed", seed,
                   "the same seed gives the same text (default: a new one, printed)")
        ->check(CLI::Range(uint64_t{0}, uint64_t{std::numeric_limits<int64_t>::max()}));
  }
  // The options with the seed settled.
  runtime::SamplerOptions resolve() const;
};

}  // namespace halftone::cli
