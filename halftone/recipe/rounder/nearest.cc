// Nearest rounding (RTN): each weight to the nearest code of its grid. The skeleton to copy for a
// rounder without needs.
#include "halftone/recipe/rounder/shared/describe.h"
#include "halftone/recipe/rounder/shared/problem.h"

namespace halftone::rounder {
namespace {

struct Options {};
void fields(auto&, Options&) {}
void validate(const Options&, const std::string&) {}

std::vector<Result> run(std::span<const Problem> problems, recipe::InputStatistics&&, const Json&,
                        const Context& context) {
  Threads threads(context);
  std::vector<Result> results;
  for (const Problem& problem : problems) {
    context.throw_if_stopped();
    check_finite(problem, threads.pool());
    Result result;
    result.codes = format::quantize_nearest(*problem.weight, problem.format, &threads.pool(),
                                            &result.clamped_scales);
    result.error = result.nearest_error =
        weighted_error(result.codes, *problem.weight, {}, threads.pool());
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace

Entry nearest() {
  Entry entry = describe<Options>("nearest");
  entry.summary = "each weight to the nearest code (RTN)";
  entry.flops = [](int64_t n, int64_t k) {
    return 20.0 * static_cast<double>(n) * static_cast<double>(k);
  };
  entry.run = run;
  return entry;
}

}  // namespace halftone::rounder
