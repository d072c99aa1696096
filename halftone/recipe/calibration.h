// Calibration samples: token windows cut out of text, and an account of how.
//
// Windows `document` (default): documents in seeded order, each tokenized alone, laid end to end
// and cut into blocks without overlap. Windows `gptq`: what the GPTQ scripts do, bit for bit. One
// joined text (wikitext2, ptb, files): tokenized once, then for each sample i = randint(0, T -
// length - 1) of Python's generator, window [i, i + length). Many documents (c4): randint picks
// documents until one is longer than `length`, then a window in it. Windows may overlap; the report
// says when text was scarcer than the windows claim.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/files/datasets.h"
#include "halftone/recipe/recipe.h"

namespace halftone::recipe {

// The text side of a model, given by the program: recipe/ itself does not depend on tokenizers.
struct TextSide {
  std::function<std::vector<int32_t>(std::string_view text)> encode;  // no special tokens added
  int32_t bos = -1;                                                   // -1: the tokenizer has none
  bool adds_bos = false;  // the tokenizer itself would begin every text with it
  // one user turn, rendered; empty: the model has no template
  std::function<std::string(std::string_view user_text)> chat_template;
  // `self`: `samples` sequences of `length` tokens sampled from the model. Empty where no engine
  // can.
  std::function<std::vector<std::vector<int32_t>>(int64_t samples, int64_t length, uint64_t seed)>
      sample;
};

struct CalibrationReport {
  std::string data;                         // "wikitext2-partial train", "self"
  std::string windows, bos, chat_template;  // in words, for people
  int64_t samples = 0, length = 0;
  int64_t tokens_available =
      0;                       // tokenized; of c4 under `gptq` windows only the documents looked at
  int64_t tokens_used = 0;     // distinct positions that lie in some window
  int64_t tokens_dropped = 0;  // tokenized but in no window
  // samples * length - tokens_used: positions that overlapping windows use again
  int64_t tokens_repeated = 0;
  int64_t documents = 0;    // distinct documents that the windows touch
  std::string fingerprint;  // of the token ids
  std::string scarce;       // a sentence when there was less text than asked, else empty
};
Json to_json(const CalibrationReport& report);

struct CalibrationSet {
  std::vector<std::vector<int32_t>> samples;  // each of `length` ids
  CalibrationReport report;
};

// What calibration data `data` names on this machine, before any work: auto becomes wikitext2 where
// that is at hand, else self (with a warning). FileError{missing} with the remedy where a set or a
// file is not there.
std::string find_calibration(const std::string& data, const files::DataPlaces& places,
                             const Context& context);

// `request.data` as find_calibration takes it. FileError and InputError name the
// remedy: data absent, fewer tokens than document windows need, no document long enough.
CalibrationSet make_calibration(const CalibrationRequest& request, const TextSide& text,
                                const files::DataPlaces& places, const Context& context);

std::string fingerprint_ids(const std::vector<std::vector<int32_t>>& samples);

}  // namespace halftone::recipe
