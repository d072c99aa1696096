// Anything that turns token ids into logits: the runtime, or the torch graph. Evaluation knows nothing else about a model.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace halftone::eval {

class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual std::string label() const = 0;      // "smollm2-gptq4 (runtime, exact)"
  virtual int64_t vocabulary() const = 0;
  virtual int64_t context() const = 0;        // longest sequence it takes
  // Feeds `ids` from an empty cache and calls row(position, logits[vocabulary]) for each position in [first, ids.size()), in
  // order. Logits are f32 and valid during the call only, so no [T, vocabulary] array has to exist.
  virtual void logits(std::span<const int32_t> ids, int64_t first,
                      const std::function<void(int64_t position, std::span<const float> row)>& row) = 0;
};

}  // namespace halftone::eval
