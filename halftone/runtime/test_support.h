// What the runtime's tests share: a context with threads, models from tests/fixtures, recorded
// references.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/files/safetensors.h"
#include "halftone/runtime/session.h"
#include "tests/support/data.h"

namespace halftone::runtime::testing {

struct Bench {
  explicit Bench(int64_t threads = 2) : env(posix_env()), pool(threads) {
    context.env = env.get();
    context.pool = &pool;
    context.threads = threads;
    context.log = [this](Level, std::string_view text) { log.emplace_back(text); };
  }
  std::shared_ptr<const Model> load(const std::string& path, const LoadOptions& options = {}) {
    return Model::load(pack::open_model(path, context), options, context);
  }
  std::unique_ptr<Env> env;
  ThreadPool pool;
  Context context;
  std::vector<std::string> log;
};

inline std::string fixture(const std::string& name) {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/" + name;
}

using tests::data_folder;

struct Recorded {
  explicit Recorded(const std::string& path, const Context& context)
      : file(files::open_safetensors(path, context)) {}
  std::vector<float> floats(const std::string& name) const {
    const HostTensor t = to_f32(file->read(name));
    return {t.as<float>().begin(), t.as<float>().end()};
  }
  std::vector<int32_t> ids(const std::string& name) const {
    const HostTensor t = file->read(name);
    return {t.as<int32_t>().begin(), t.as<int32_t>().end()};
  }
  Shape shape(const std::string& name) const { return file->find(name)->shape; }
  std::shared_ptr<const files::TensorSource> file;
};

// All rows of logits of one sequence, [T, vocabulary].
inline Matrix<float> all_logits(Session& session, std::span<const int32_t> ids) {
  const int64_t vocabulary = session.model().vocabulary();
  Matrix<float> out(static_cast<int64_t>(ids.size()), vocabulary);
  for (int64_t i = 0; i < out.rows; i += session.chunk()) {
    const int64_t n = std::min(session.chunk(), out.rows - i);
    session.advance(ids.subspan(static_cast<size_t>(i), static_cast<size_t>(n)));
    session.logits(0, n, std::span(out.data).subspan(static_cast<size_t>(i * vocabulary)));
  }
  return out;
}

// Random ids below 96, the vocabulary of the small fixtures.
inline std::vector<int32_t> some_ids(int64_t count, uint64_t seed = 5) {
  const CounterRng rng(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(rng.u32(static_cast<uint64_t>(i)) % 96));
  return ids;
}

inline double max_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i)
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return worst;
}

}  // namespace halftone::runtime::testing
