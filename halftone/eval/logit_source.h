// Anything that turns token ids into logits: the runtime, or the torch graph. Evaluation knows
// nothing else about a model.
//
// A source is pulled in chunks, so that a reference and a candidate can be walked side by side with
// two small buffers instead of files of logits:
//     source.begin(ids, 0);
//     while (int64_t n = source.next(rows)) ...   // room for rows.size() / vocabulary() positions
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace halftone::eval {

// Logits of `ids` are wanted at positions [first, ids.size()). 0 <= first < ids.size().
struct WantedText {
  std::span<const int32_t> ids;
  int64_t first = 0;
};
// The logits at one position, of all the texts that are the same up to there.
struct TextRow {
  int64_t position = 0;
  std::span<const float> logits;   // [vocabulary]
  std::span<const int64_t> texts;  // indices into what was asked for
};
using TakeRows = std::function<void(std::span<const TextRow> rows)>;

class LogitSource {
 public:
  virtual ~LogitSource() = default;
  virtual std::string label() const = 0;  // "smollm2-gptq4 (runtime, exact)"
  virtual int64_t vocabulary() const = 0;
  virtual int64_t context() const = 0;  // longest sequence it takes
  // Starts over with an empty cache. Logits are wanted for positions [first, ids.size()); `ids` is
  // copied.
  virtual void begin(std::span<const int32_t> ids, int64_t first) = 0;
  // Writes the logits of the next positions as [n, vocabulary] f32 into the front of `rows`;
  // returns n, 0 at the end. rows.size() is a multiple of vocabulary().
  virtual int64_t next(std::span<float> rows) = 0;

  // The wanted rows of many texts, in the order that suits the source; those of one text come in
  // the order of their positions. Rows are valid during the call that takes them. The bits depend
  // neither on the order nor on what else is asked for. `begin` starts over afterwards. This one
  // goes text by text; the runtime computes many at once, and what texts have in common once.
  virtual void each_text(std::span<const WantedText> texts, const TakeRows& take);

  // The same, row by row. The row is valid during the call only.
  void each_row(std::span<const int32_t> ids, int64_t first,
                const std::function<void(int64_t position, std::span<const float> row)>& row);
};

}  // namespace halftone::eval
