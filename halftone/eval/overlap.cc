#include "halftone/eval/overlap.h"

#include <algorithm>

#include "halftone/base/hash.h"

namespace halftone::eval {
namespace {

void each_run(std::span<const int32_t> ids, const auto& take) {
  for (auto at = ids.begin(); ids.end() - at >= kOverlapTokens; ++at) {
    std::array<int32_t, kOverlapTokens> run;
    std::copy_n(at, kOverlapTokens, run.begin());
    take(run);
  }
}

}  // namespace

size_t TokenRuns::Hash::operator()(const Run& run) const {
  return hash64(std::as_bytes(std::span(run)));
}

void TokenRuns::add(std::span<const int32_t> text) {
  each_run(text, [&](const Run& run) { runs_.insert(run); });
}

Overlap TokenRuns::in(std::span<const int32_t> text) const {
  Overlap out;
  each_run(text, [&](const Run& run) {
    ++out.places;
    out.shared += runs_.contains(run) ? 1 : 0;
  });
  return out;
}

}  // namespace halftone::eval
