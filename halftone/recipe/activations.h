// Hidden states of the calibration samples between two units: in memory up to a budget, the rest in
// files of the work folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/tensor.h"

namespace halftone::recipe {

class Activations {
 public:
  // `samples` matrices of rows x cols. Those that fit into `memory_budget` bytes stay in memory,
  // the later ones go to `folder`.
  Activations(Env& env, std::string folder, int64_t samples, int64_t rows, int64_t cols,
              uint64_t memory_budget);
  ~Activations();  // removes its files
  Activations(const Activations&) = delete;
  Activations& operator=(const Activations&) = delete;

  int64_t samples() const { return samples_; }
  int64_t rows() const { return rows_; }
  uint64_t spilled_bytes() const { return static_cast<uint64_t>(samples_ - in_memory_) * bytes_; }
  // Safe from many threads for different samples. write: NumericError when a value is not finite.
  Matrix<float> read(int64_t sample) const;
  void write(int64_t sample, Matrix<float> hidden);
  std::string hash() const;  // of all samples as last written

 private:
  std::string file(int64_t sample) const;
  Env& env_;
  std::string folder_;
  int64_t samples_, rows_, cols_, in_memory_;
  uint64_t bytes_;
  std::vector<Matrix<float>> memory_;
  std::vector<uint64_t> hashes_;
};

}  // namespace halftone::recipe
