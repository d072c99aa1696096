// What the driver asks of an engine: run one segment (a block, or a piece of one) over calibration
// samples and observe the inputs of its linears. Implemented in calib/ on libtorch; recipes that
// need no calibration run without any engine.
//
// Hidden states are [T, width] f32, one sample each; samples are independent, so the engine may run
// them on several threads and must give the same bytes at any thread count.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/tensor.h"
#include "halftone/spec/checkpoint.h"

namespace halftone::recipe {

// Statistics of a linear's input that a part can declare. Only what is declared is captured.
// input_square is what a search weighs columns with where a whole Hessian is not worth its memory.
enum class Need : uint8_t { input_hessian, input_absmax, input_mean, input_square };

// Over all calibration tokens that reach the linear; x is [K].
struct InputStatistics {
  int64_t tokens = 0, sequences = 0;
  // [K, K] row-major, upper and lower filled: sum over tokens of x x^T, times 2 / sequences (GPTQ's
  // convention; methods are indifferent to the factor, reported losses are not). Shared by linears
  // with the same input (q, k, v).
  std::shared_ptr<Matrix<double>> hessian;
  std::vector<float> absmax, mean;  // [K]
  std::vector<float> square;        // [K], mean of x^2
};

class BlockEngine {
 public:
  virtual ~BlockEngine() = default;
  // Embeds one sample: ids -> hidden [T, width].
  virtual Matrix<float> embed(std::span<const int32_t> ids) = 0;
  // Makes a segment current, reading its weights (dense) from the checkpoint. It must outlive its
  // being current.
  virtual void load(const spec::Segment& segment) = 0;
  // Replaces the weight of a linear of the current segment (after rounding).
  virtual void set_weight(const std::string& op, const Matrix<float>& w) = 0;
  virtual Matrix<float> weight(const std::string& op) = 0;
  // Runs the current segment on each sample that `read` gives and hands its output to `write`.
  // `observe`: op names -> statistics wanted. Until a pass has written, or another segment is
  // loaded, sample i is the same at each call: an engine may keep what it computed of it.
  virtual std::map<std::string, InputStatistics> run_block(
      int64_t samples, const std::function<Matrix<float>(int64_t)>& read,
      const std::function<void(int64_t, Matrix<float>)>& write,
      const std::map<std::string, std::set<Need>>& observe) = 0;
};

}  // namespace halftone::recipe
