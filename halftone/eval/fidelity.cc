#include "halftone/eval/fidelity.h"

#include <algorithm>
#include <numeric>

#include "halftone/base/error.h"

namespace halftone::eval {
namespace {

Mean mean(const std::vector<double>& values) {
  const auto of = [&](std::span<const double> multiplicity) {
    return std::inner_product(values.begin(), values.end(), multiplicity.begin(), 0.0) /
           static_cast<double>(values.size());
  };
  Mean out{of(std::vector<double>(values.size(), 1.0)), {}};
  if (values.size() > 1) out.ci95 = bootstrap(std::ssize(values), of);
  return out;
}

}  // namespace

Parting parting(std::span<const int32_t> reference, std::span<const int32_t> model) {
  const auto [a, b] = std::mismatch(reference.begin(), reference.end(), model.begin(), model.end());
  Parting out{.at = a - reference.begin(), .reference = {}};
  if (a != reference.end()) out.reference = *a;
  if (b != model.end()) out.model = *b;
  return out;
}

std::optional<int64_t> Fidelity::earliest() const {
  std::optional<int64_t> out;
  for (size_t i = 0; i < partings.size(); ++i)
    if (partings[i].parted() && (!out || partings[i].at < partings[static_cast<size_t>(*out)].at))
      out = static_cast<int64_t>(i);
  return out;
}

Fidelity fidelity(std::span<const Answer> reference, std::span<const Answer> model,
                  const Context& context) {
  check(!reference.empty() && reference.size() == model.size(), "every prompt has two answers");
  Fidelity out;
  std::vector<TextItem> items;
  std::vector<double> same, common, tokens, reference_tokens;
  std::vector<float> places;
  for (size_t i = 0; i < model.size(); ++i) {
    items.push_back({model[i].text, {reference[i].text}});
    const Parting& p = out.partings.emplace_back(parting(reference[i].ids, model[i].ids));
    same.push_back(!p.parted());
    common.push_back(static_cast<double>(p.at));
    tokens.push_back(static_cast<double>(model[i].ids.size()));
    reference_tokens.push_back(static_cast<double>(reference[i].ids.size()));
    if (p.parted()) places.push_back(static_cast<float>(p.at));
  }
  for (const char* name : {"bleu", "chrf", "rougeL"}) {
    TextMetric metric = text_metric(name);
    TextScore score = text_score(metric, count_items(metric, items, context));
    out.scores.emplace_back(std::move(metric), std::move(score));
  }
  out.exact = mean(same);
  out.common_prefix = mean(common);
  out.tokens = mean(tokens);
  out.reference_tokens = mean(reference_tokens);
  if (!places.empty()) out.median_parting = percentile(std::move(places), 0.5);
  return out;
}

}  // namespace halftone::eval
