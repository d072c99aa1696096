// chrF and, with word n-grams up to `word_order`, chrF++ (text_scores.h).
#pragma once

#include <cstddef>

#include "halftone/eval/text_scores.h"

namespace halftone::eval {

TextMetric chrf_metric(size_t word_order);

}  // namespace halftone::eval
