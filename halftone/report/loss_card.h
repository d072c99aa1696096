// What a quantized model lost and won, for the terminal, out of measured.json: one sentence from a
// fixed ladder of words, one row for each figure. And what was done to it, in plain sentences.
//
// measured.json (beside halftone.json, written by cli/measure.h):
//   schema 1, model, reference (names), fingerprint (of halftone.json)
//   protocol {name, data, windows, window, positions, mode, ids | ids_hash}
//   size {bytes, reference_bytes, file_bytes, ratio, bits_per_weight, nominal_bits, layer_mean_bits,
//         ratio_to_f32 {nominal, effective, layer_mean}}
//   speed {mode, threads, isa, model, reference {prefill_tok_s, decode_tok_s, load_ms}}, or null
//   memory {peak_rss_bytes, reference_peak_rss_bytes}, or null
//   divergence (the keys of a model in `compare --json`, and reference_perplexity), or null
//   noise_floor {what, windows, kl_mean, js_mean, top1_agreement, top5_agreement}, or null
//   failure: why there is no divergence, where that was tried
//   tasks [as `compare --json` has them, and limit, num_fewshot]: those that `verify --tasks` named
//   damage [{block, hidden_error}]
//   overlap {shared, places, share} of runs of 16 tokens of the calibration text that stand in the
//         test text, {windows_share} of those in the scored windows that calibration had; or null
//   notes [sentences]; facts {command, version, commit, cpu ...}; hash (of all of it but itself)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::report {

inline constexpr int64_t kCardWidth = 84;

// What the card, the explanation and those who look for a reference or a recipe take for granted of
// files that anybody may have written. FileError naming the file and the first key that is missing or
// of another type.
void check_measured(const Json& measured, const std::string& path);
void check_receipt(const Json& receipt, const std::string& path);

// Lines of at most `width` columns (40 at least); what does not fit goes on below its row. `receipt`
// is halftone.json, null where there is none; both are of a shape that was checked. Parts that
// `measured` lacks are left out; without "schema" it is kept nowhere, and no file is named. Same
// input, same bytes.
std::string loss_card(const Json& measured, const Json& receipt, int64_t width = kCardWidth);

// Sentences: what was done to what, what fell back and why, what stayed in floats, whether the
// calibration text is part of the test text, and what the words of the card mean. Each ends with a
// full stop and stands alone.
std::vector<std::string> explanation(const Json& measured, const Json& receipt);

// `text` in lines of at most `width` columns, cut at spaces; lines after the first are indented.
std::string wrapped(const std::string& text, int64_t width, int64_t indent);

}  // namespace halftone::report
