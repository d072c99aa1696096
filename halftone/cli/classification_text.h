// What a classification got right, for the terminal.
#pragma once

#include <optional>
#include <string>

#include "halftone/cli/terminal.h"
#include "halftone/eval/classification.h"

namespace halftone::cli {

// " [0.812, 0.904]", behind a figure; nothing where there is none.
std::string interval(const std::optional<eval::Interval>& ci, int digits);

// Accuracy and macro F1, a row a label (40 at most), and the confusion matrix; its most frequent
// mistakes where it is wider than the terminal.
void print_classification(Terminal& t, const eval::Classification& c);

}  // namespace halftone::cli
