// ROUGE-L (text_scores.h).
#pragma once

#include "halftone/eval/text_scores.h"

namespace halftone::eval {

TextMetric rouge_metric();

}  // namespace halftone::eval
