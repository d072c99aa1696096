#include "halftone/recipe/activations.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"

namespace halftone::recipe {

Activations::Activations(Env& env, std::string folder, int64_t samples, int64_t rows, int64_t cols,
                         uint64_t memory_budget)
    : env_(env),
      folder_(std::move(folder)),
      samples_(samples),
      rows_(rows),
      cols_(cols),
      bytes_(static_cast<uint64_t>(rows * cols) * sizeof(float)),
      hashes_(static_cast<size_t>(samples)) {
  in_memory_ =
      std::min(samples, static_cast<int64_t>(memory_budget / std::max<uint64_t>(bytes_, 1)));
  memory_.resize(static_cast<size_t>(in_memory_));
}

Activations::~Activations() {
  for (int64_t s = in_memory_; s < samples_; ++s) {
    try {
      env_.remove(file(s));
    } catch (
        const Error&) {  // the work folder is removed as a whole, or reported by whoever needs it
      return;
    }
  }
}

std::string Activations::file(int64_t sample) const {
  char name[48];
  std::snprintf(name, sizeof(name), "activations-%06lld.bin", static_cast<long long>(sample));
  return join_path(folder_, name);
}

Matrix<float> Activations::read(int64_t sample) const {
  if (sample < in_memory_) return memory_[static_cast<size_t>(sample)];
  Matrix<float> out(rows_, cols_);
  env_.open(file(sample))->read(0, std::as_writable_bytes(std::span(out.data)));
  return out;
}

void Activations::write(int64_t sample, Matrix<float> hidden) {
  check(hidden.rows == rows_ && hidden.cols == cols_,
        "hidden states have another shape than the calibration samples");
  for (size_t i = 0; i < hidden.data.size(); ++i)
    if (!std::isfinite(hidden.data[i]))
      throw NumericError("calibration sample " + std::to_string(sample),
                         "hidden state of token " +
                             std::to_string(static_cast<int64_t>(i) / cols_) + ", channel " +
                             std::to_string(static_cast<int64_t>(i) % cols_) + " is not finite");
  hashes_[static_cast<size_t>(sample)] = hash64(std::as_bytes(std::span(hidden.data)));
  if (sample < in_memory_) {
    memory_[static_cast<size_t>(sample)] = std::move(hidden);
    return;
  }
  // Not synced: after a crash they are made again.
  auto out = env_.create(file(sample));
  out->write(std::as_bytes(std::span(hidden.data)));
  out->close();
}

std::string Activations::hash() const {
  return Hasher().add(std::as_bytes(std::span(hashes_))).hex();
}

}  // namespace halftone::recipe
