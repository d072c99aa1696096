// Random layers for the tests of compensating rounders.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/rng.h"
#include "halftone/linalg/linalg.h"
#include "halftone/recipe/rounder.h"

namespace halftone::rounder {

struct TestLayer {
  Matrix<float> w;
  std::vector<float> x;  // [tokens, columns]
  int64_t tokens = 0;

  recipe::InputStatistics statistics() const {
    ThreadPool pool(1);
    recipe::InputStatistics out{.tokens = tokens, .sequences = 1};
    out.hessian = std::make_shared<Matrix<double>>(w.cols, w.cols);
    linalg::add_gram(x, tokens, w.cols, 2.0, *out.hessian, pool);
    return out;
  }
  Matrix<double> hessian() const { return *statistics().hessian; }
};

// `correlation` 0: independent inputs. Else each token is a mixture of columns / 4 hidden causes
// plus a little noise, as activations are.
inline TestLayer random_layer(int64_t rows, int64_t columns, uint64_t seed, double correlation = 1,
                              int64_t tokens = 0) {
  TestLayer layer{.w = Matrix<float>(rows, columns), .tokens = tokens == 0 ? 3 * columns : tokens};
  const CounterRng rng(seed);
  uint64_t draw = 0;
  for (float& w : layer.w.data) w = static_cast<float>(rng.normal(draw++));
  const int64_t causes = std::max<int64_t>(1, columns / 4);
  std::vector<double> mix(static_cast<size_t>(causes * columns));
  for (double& m : mix) m = rng.normal(draw++) / std::sqrt(static_cast<double>(causes));
  layer.x.resize(static_cast<size_t>(layer.tokens * columns));
  std::vector<double> cause(static_cast<size_t>(causes));
  for (int64_t t = 0; t < layer.tokens; ++t) {
    for (double& c : cause) c = rng.normal(draw++);
    for (int64_t k = 0; k < columns; ++k) {
      double value = (correlation > 0 ? 0.3 : 1.0) * rng.normal(draw++);
      for (int64_t c = 0; c < causes && correlation > 0; ++c)
        value +=
            correlation * cause[static_cast<size_t>(c)] * mix[static_cast<size_t>(c * columns + k)];
      layer.x[static_cast<size_t>(t * columns + k)] = static_cast<float>(value);
    }
  }
  return layer;
}

// tr((Q-W) H (Q-W)^T), the plain way.
inline double layer_error(const Matrix<float>& q, const Matrix<float>& w, const Matrix<double>& h) {
  double total = 0;
  for (int64_t n = 0; n < w.rows; ++n)
    for (int64_t i = 0; i < w.cols; ++i)
      for (int64_t j = 0; j < w.cols; ++j)
        total += (static_cast<double>(q.at(n, i)) - static_cast<double>(w.at(n, i))) * h.at(i, j) *
                 (static_cast<double>(q.at(n, j)) - static_cast<double>(w.at(n, j)));
  return total;
}

inline Result round_layer(const Run& run, const TestLayer& layer, const format::Format& format,
                          const Json& options, int64_t threads = 2) {
  const Problem problem{.name = "layer", .weight = &layer.w, .format = format};
  Context context;
  context.threads = threads;
  return run(std::span(&problem, 1), layer.statistics(), options, context).at(0);
}

inline format::Format row_format(int64_t bits, bool symmetric = true) {
  return {
      .bits = bits, .granularity = format::Granularity::row, .group = 0, .symmetric = symmetric};
}

Run gptq_run();
Run ldlq_run();
Run obq_run();

}  // namespace halftone::rounder
