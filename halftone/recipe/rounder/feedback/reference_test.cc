// gptq, ldlq and obq against an independent float64 implementation in numpy: tests/fixtures/gptq,
// whose README says what is what.
#include <gtest/gtest.h>

#include "halftone/files/safetensors.h"
#include "halftone/recipe/rounder/feedback/test_problem.h"

namespace halftone::rounder {
namespace {

const std::string kFolder = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/gptq/";

class Fixture {
 public:
  Fixture() : env_(posix_env()) {
    context_.env = env_.get();
    cases_ = parse_json(env_->read_text(kFolder + "cases.json", 1 << 20), "cases.json").at("cases");
    tensors_ = files::open_safetensors(kFolder + "gptq.safetensors", context_);
  }
  std::vector<Json> of_kind(const std::string& kind) const {
    std::vector<Json> out;
    for (const Json& c : cases_)
      if (c.at("kind") == kind) out.push_back(c);
    return out;
  }
  template <class T>
  Matrix<T> matrix(const std::string& name) const {
    const HostTensor tensor = tensors_->read(name);
    Matrix<T> out(tensor.dim(0), tensor.shape().size() > 1 ? tensor.count() / tensor.dim(0) : 1);
    const auto values = tensor.as<T>();
    out.data.assign(values.begin(), values.end());
    return out;
  }
  bool has(const std::string& name) const { return tensors_->find(name) != nullptr; }

 private:
  std::unique_ptr<Env> env_;
  Context context_;
  Json cases_;
  std::shared_ptr<const files::SafetensorsSource> tensors_;
};

const Fixture& fixture() {
  static const Fixture one;
  return one;
}

format::Format format_of(const Json& c) {
  const std::string grid = c.at("grid");
  const int64_t group = c.at("group_size");
  format::Format f{.bits = c.at("bits"),
                   .granularity = group > 0 ? format::Granularity::group : format::Granularity::row,
                   .group = std::max<int64_t>(0, group),
                   .symmetric = grid == "gptq_sym" || grid == "max_sym",
                   .grid = grid == "awq_asym"  ? "awq"
                           : grid == "max_sym" ? "absmax"
                                               : "gptq"};
  f.clip_search = c.value("mse_clip", false);
  f.scale_dtype = c.value("scale_storage", "f32") == "f16" ? DType::f16 : DType::f32;
  return f;
}

Result round_case(const Run& run, const Json& c, const Json& options) {
  const std::string problem = c.at("problem");
  const auto w = fixture().matrix<float>(problem + ".W");
  recipe::InputStatistics statistics{.tokens = 1, .sequences = 1};
  statistics.hessian = std::make_shared<Matrix<double>>(fixture().matrix<double>(problem + ".H"));
  const Problem one{.name = c.at("name"), .weight = &w, .format = format_of(c)};
  Context context;
  context.threads = 2;
  return run(std::span(&one, 1), std::move(statistics), options, context).at(0);
}

void expect_equals_case(const Result& result, const Json& c) {
  const std::string name = c.at("name");
  EXPECT_EQ(result.fallback, "");
  EXPECT_EQ(result.codes.codes, fixture().matrix<uint8_t>(name + ".codes").data) << name;
  const auto groups = fixture().matrix<int32_t>(name + ".g_idx");
  for (int64_t k = 0; k < result.codes.cols; ++k)
    EXPECT_EQ(result.codes.group_of(k), groups.data[static_cast<size_t>(k)]) << name;
  const auto scales = fixture().matrix<float>(name + ".scales");
  const auto zeros = fixture().matrix<int32_t>(name + ".zeros");
  for (int64_t n = 0; n < scales.rows; ++n)
    for (int64_t g = 0; g < scales.cols; ++g) {
      EXPECT_NEAR(result.codes.scale(n, g), scales.at(n, g),
                  1e-6 * static_cast<double>(scales.at(n, g)))
          << name;
      EXPECT_EQ(result.codes.zero(n, g), zeros.at(n, g)) << name;
    }
  // Steps are rounded to f32 here, codes are equal: errors agree to a few 1e-6.
  EXPECT_NEAR(result.error, c.at("error").get<double>(), 1e-5 * result.error) << name;
  EXPECT_NEAR(result.nearest_error, c.at("error_nearest").get<double>(),
              1e-5 * result.nearest_error)
      << name;
}

TEST(Reference, GptqGivesTheSameCodesGroupsAndErrors) {
  for (const Json& c : fixture().of_kind("gptq")) {
    const Json options{{"block", c.at("block")},
                       {"damping", c.at("damping")},
                       {"act_order", c.at("act_order")},
                       {"static_groups", c.at("static_groups")},
                       {"stale_grids", c.at("group_grids") == "stale"}};
    expect_equals_case(round_case(gptq_run(), c, options), c);
  }
}

TEST(Reference, LdlqAndFixedOrderObqGiveTheCodesOfGptq) {
  for (const Json& c : fixture().of_kind("gptq")) {
    if (c.at("group_grids") == "stale") continue;
    expect_equals_case(round_case(ldlq_run(), c,
                                  {{"damping", c.at("damping")},
                                   {"act_order", c.at("act_order")},
                                   {"static_groups", c.at("static_groups")}}),
                       c);
    expect_equals_case(round_case(obq_run(), c,
                                  {{"damping", c.at("damping")},
                                   {"order", c.at("act_order") ? "act_order" : "natural"},
                                   {"static_groups", c.at("static_groups")}}),
                       c);
  }
}

TEST(Reference, NearestGivesTheSameCodes) {
  for (const Json& c : fixture().of_kind("gptq")) {
    const std::string name = c.at("name"), problem = c.at("problem");
    auto w = fixture().matrix<float>(problem + ".W");
    const auto h = fixture().matrix<double>(problem + ".H");
    for (int64_t n = 0; n < w.rows; ++n)
      for (int64_t k = 0; k < w.cols; ++k)
        if (h.at(k, k) == 0) w.at(n, k) = 0;
    const auto q = format::quantize_nearest(w, format_of(c));
    const auto codes = fixture().matrix<uint8_t>(name + ".nearest_codes"),
               ties = fixture().matrix<uint8_t>(name + ".nearest_ties");
    for (size_t i = 0; i < codes.data.size(); ++i)
      EXPECT_LE(std::abs(q.codes[i] - codes.data[i]), ties.data[i]) << name << " " << i;
  }
}

TEST(Reference, SpecialRowsGiveTheSameValues) {
  const auto w = fixture().matrix<float>("special.W");
  for (const Json& c : fixture().of_kind("special")) {
    const std::string name = c.at("name");
    const auto q = format::quantize_nearest(w, format_of(c));
    const auto back = q.dequantize();
    const auto values = fixture().matrix<float>(name + ".values"),
               scales = fixture().matrix<float>(name + ".scales");
    const auto ties = fixture().matrix<uint8_t>(name + ".ties"),
               zero_ties = fixture().matrix<uint8_t>(name + ".zero_ties");
    for (int64_t n = 0; n < w.rows; ++n) {
      const auto row = w.row(n);
      if (std::all_of(row.begin(), row.end(),
                      [](float x) { return x == 0; })) {  // ours keeps scale 1 there
        for (const float v : back.row(n)) EXPECT_EQ(v, 0);
        continue;
      }
      const double step = static_cast<double>(scales.data[static_cast<size_t>(n)]);
      EXPECT_NEAR(q.scale(n, 0), step, 1e-6 * step) << name;
      for (int64_t k = 0; k < w.cols; ++k) {
        const bool tie = ties.at(n, k) != 0 || zero_ties.data[static_cast<size_t>(n)] != 0;
        EXPECT_NEAR(back.at(n, k), values.at(n, k), (tie ? 1.001 : 1e-5) * step)
            << name << " row " << n << " column " << k;
      }
    }
  }
}

// Every row is a layer of its own, with the optimum over all codes known.
TEST(Reference, GreedyObqAndGptqAgainstBruteForce) {
  for (const Json& c : fixture().of_kind("brute")) {
    const std::string name = c.at("name");
    const auto w = fixture().matrix<float>(name + ".W");
    const auto h = fixture().matrix<double>(name + ".H");
    const auto obq_codes = fixture().matrix<uint8_t>(name + ".obq_codes"),
               gptq_codes = fixture().matrix<uint8_t>(name + ".gptq_codes");
    const auto obq_error = fixture().matrix<double>(name + ".obq_error"),
               gptq_error = fixture().matrix<double>(name + ".gptq_error");
    const auto best = fixture().matrix<double>(name + ".brute_error");
    const int64_t k = w.cols;
    for (int64_t n = 0; n < w.rows; ++n) {
      Matrix<float> row(1, k);
      std::copy(w.row(n).begin(), w.row(n).end(), row.data.begin());
      const auto run = [&](const rounder::Run& round, const Json& options) {
        recipe::InputStatistics statistics{.tokens = 1, .sequences = 1};
        statistics.hessian = std::make_shared<Matrix<double>>(k, k);
        std::copy(h.row(n).begin(), h.row(n).end(), statistics.hessian->data.begin());
        const Problem one{.name = name, .weight = &row, .format = format_of(c)};
        return round(std::span(&one, 1), std::move(statistics), options, Context{}).at(0);
      };
      const auto obq = run(obq_run(), {{"nearest_if_worse", false}});
      const auto gptq = run(gptq_run(), {{"nearest_if_worse", false}, {"damping", 0}});
      for (int64_t i = 0; i < k; ++i) {
        EXPECT_EQ(obq.codes.codes[static_cast<size_t>(i)], obq_codes.at(n, i))
            << name << " row " << n;
        EXPECT_EQ(gptq.codes.codes[static_cast<size_t>(i)], gptq_codes.at(n, i))
            << name << " row " << n;
      }
      const double optimum = best.data[static_cast<size_t>(n)];
      EXPECT_GE(obq.error, optimum * (1 - 1e-5));
      EXPECT_GE(gptq.error, optimum * (1 - 1e-5));
      // Steps are f32 on both sides and codes equal, so only the order of a few sums differs.
      EXPECT_NEAR(obq.error, obq_error.data[static_cast<size_t>(n)], 1e-5 * obq.error);
      EXPECT_NEAR(gptq.error, gptq_error.data[static_cast<size_t>(n)], 1e-5 * gptq.error);
    }
  }
}

}  // namespace
}  // namespace halftone::rounder
