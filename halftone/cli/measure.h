// What a quantized model lost and what it costs, measured once and kept beside it: measured.json
// (its keys: report/loss_card.h), the receipt of the loss card. It is outside the hashes of halftone.json, and
// `halftone verify` measures the same again, and tasks where it is asked to.
//
// Quality: the runtime's real kernels in mode exact, side by side with the reference, the same to the
// last digit at any thread count. Speed and memory: `halftone bench` in a process of its own for
// each model, a figure of this machine and this minute.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/cli/compare_tasks.h"
#include "halftone/cli/session.h"

namespace halftone::cli {

// What both models read.
struct MeasuredText {
  std::string label;  // "wikitext2 test"
  std::vector<int32_t> ids;
  // Of a named set the protocol keeps a hash; other ids it keeps themselves, to measure again.
  bool named = true;
};
// The test part of WikiText-2 in the tokens of `model`; nothing where it is not at hand.
std::optional<MeasuredText> wikitext_for(const std::string& model, const Session& session);

struct MeasureRequest {
  std::string model, reference;  // as open_model takes them
  MeasuredText text;
  int64_t windows = 4, window = 512;
  // What the rounding saw, where it saw text: looked for in all of `text`.
  std::vector<std::vector<int32_t>> calibration;
  bool speed = true;
};

// The contents of measured.json but for its hash. What cannot be measured (memory for both models at
// once, logits that are not finite, an encoder) is null, with the reason in "notes" or "failure";
// E_INTERRUPTED passes. Reads both models whole.
Json measure(const MeasureRequest& request, const Session& session);
// Its "tasks": by both models, one in memory at a time; answers are kept in `journals`. InputError for
// tasks that there are not, and for an encoder.
Json measure_tasks(const std::string& model, const std::string& reference,
                   const TaskOptions& options, const Session& session, RunJournals& journals);
// The options that measure the same tasks again.
TaskOptions same_tasks(const Json& tasks);

// measured.json in `folder`, replaced in one step.
void write_measured(const std::string& folder, Json measured, const Context& context);
// Nothing where there is none. FileError naming the file: not JSON, another schema, not as it was
// written, a key that is missing or of another type.
std::optional<Json> read_measured(const std::string& folder, const Context& context);
// halftone.json in `folder`; {} where there is none. FileError for a key that the card reads and that
// is of another type.
Json read_receipt(const std::string& folder, const Context& context);

}  // namespace halftone::cli
