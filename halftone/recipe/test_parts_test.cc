#include "halftone/recipe/test_parts.h"

#include <cmath>

#include "halftone/spec/family.h"

namespace halftone::recipe {
namespace {

struct Options {
  int64_t sweeps = 1;
  bool list_groups = false;
};
void fields(auto& visit, Options& o) {
  visit("sweeps", o.sweeps, "passes over the columns; 0 is nearest rounding");
  visit("list_groups", o.list_groups,
        "say the group of each column, as rounders do that scatter them");
}

// The exact optimum of one column with the others held, rounded: every step lowers the layer error
// or leaves it.
rounder::Result descend(const rounder::Problem& problem, const Matrix<double>& h, int64_t sweeps) {
  rounder::Result out;
  const Matrix<float>& w = *problem.weight;
  out.codes = format::quantize_nearest(w, problem.format);
  const int32_t top = (1 << problem.format.bits) - 1;
  for (int64_t n = 0; n < w.rows; ++n) {
    std::vector<double> e(static_cast<size_t>(w.cols));
    const auto value = [&](int64_t k) {
      const int64_t g = out.codes.group_of(k);
      return static_cast<double>(out.codes.scale(n, g)) *
             (out.codes.codes[static_cast<size_t>(n * w.cols + k)] - out.codes.zero(n, g));
    };
    const auto loss = [&] {
      double sum = 0;
      for (int64_t a = 0; a < w.cols; ++a)
        for (int64_t b = 0; b < w.cols; ++b)
          sum += e[static_cast<size_t>(a)] * h.at(a, b) * e[static_cast<size_t>(b)];
      return sum;
    };
    for (int64_t k = 0; k < w.cols; ++k) e[static_cast<size_t>(k)] = value(k) - w.at(n, k);
    out.nearest_error += loss();
    for (int64_t sweep = 0; sweep < sweeps; ++sweep)
      for (int64_t k = 0; k < w.cols; ++k) {
        if (h.at(k, k) <= 0) continue;
        double pull = 0;
        for (int64_t j = 0; j < w.cols; ++j)
          if (j != k) pull += h.at(k, j) * e[static_cast<size_t>(j)];
        const int64_t g = out.codes.group_of(k);
        const double best =
            (w.at(n, k) - pull / h.at(k, k)) / out.codes.scale(n, g) + out.codes.zero(n, g);
        out.codes.codes[static_cast<size_t>(n * w.cols + k)] =
            static_cast<uint8_t>(std::clamp(std::nearbyint(best), 0.0, static_cast<double>(top)));
        e[static_cast<size_t>(k)] = value(k) - w.at(n, k);
      }
    out.error += loss();
  }
  return out;
}

std::vector<rounder::Result> round(std::span<const rounder::Problem> problems,
                                   InputStatistics&& statistics, const Json& options,
                                   const Context&) {
  std::vector<rounder::Result> out;
  const auto o = read_fields<Options>(options, "feedback");
  for (const auto& problem : problems) {
    out.push_back(descend(problem, *statistics.hessian, o.sweeps));
    format::Codes& codes = out.back().codes;
    for (int64_t k = 0; k < codes.cols && o.list_groups; ++k)
      codes.column_group.push_back(static_cast<int32_t>(k / codes.format.group));
  }
  return out;
}

rounder::Entry feedback() {
  rounder::Entry entry;
  entry.summary = "coordinate descent, for tests";
  entry.needs = {Need::input_hessian};
  entry.options = describe_fields<Options>();
  entry.resolve = [](const Json& json) {
    return write_fields(read_fields<Options>(json, "rounder feedback"));
  };
  entry.clash = [](const format::Format& format, const Json&) {
    return format.symmetric ? std::string() : std::string("it keeps one zero for all columns");
  };
  entry.scatters_groups = [](const Json& json) {
    return read_fields<Options>(json, "rounder feedback").list_groups;
  };
  entry.run = round;
  return entry;
}

}  // namespace

const Parts& test_parts() {
  static const Parts parts = [] {
    Parts p = builtin_parts();
    p.rounders.add({"feedback", feedback()});
    return p;
  }();
  return parts;
}

Json toy_config(int64_t blocks, bool tied) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_act", "silu"},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"max_position_embeddings", 128},
          {"num_attention_heads", 4},
          {"num_hidden_layers", blocks},
          {"num_key_value_heads", 2},
          {"rms_norm_eps", 0.002},
          {"rope_theta", 2000.0},
          {"tie_word_embeddings", tied},
          {"torch_dtype", "float32"},
          {"vocab_size", 64}};
}

spec::ModelSpec toy_spec(int64_t blocks, bool tied) {
  const Json config = toy_config(blocks, tied);
  return spec::family_for(config, "toy").entry.assemble(config, "toy");
}

}  // namespace halftone::recipe
