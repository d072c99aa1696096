#include "halftone/base/json_shape.h"
#include "halftone/report/loss_card.h"

namespace halftone::report {
namespace {

const Json kRange = {0.0, 0.0};

Json measured_shape() {
  const Json speed = {{"prefill_tok_s", 0.0}, {"decode_tok_s", 0.0}, {"load_ms", 0.0}};
  return {{"model", ""},
          {"reference", ""},
          {"protocol?",
           {{"data", ""},
            {"windows", 0},
            {"window", 0},
            {"positions", 0},
            {"mode", ""},
            {"ids?", Json::array({0})}}},
          {"size?",
           {{"bytes", 0.0},
            {"reference_bytes?", 0.0},
            {"bits_per_weight", 0.0},
            {"nominal_bits", 0.0}}},
          {"speed?",
           {{"mode", ""}, {"threads", 0}, {"isa", ""}, {"model", speed}, {"reference?", speed}}},
          {"memory?", {{"peak_rss_bytes", 0.0}, {"reference_peak_rss_bytes?", 0.0}}},
          {"divergence?",
           {{"kl_mean", 0.0},
            {"kl_ci95", kRange},
            {"kl_median", 0.0},
            {"kl_p90", 0.0},
            {"kl_p99", 0.0},
            {"kl_max", 0.0},
            {"top1_agreement", 0.0},
            {"top1_ci95", kRange},
            {"reference_perplexity", 0.0},
            {"perplexity", 0.0},
            {"perplexity_ratio_ci95", kRange}}},
          {"noise_floor?", {{"what", ""}, {"kl_mean?", 0.0}}},
          {"failure?", ""},
          {"tasks?", Json::array({{{"task", ""},
                                   {"metric", ""},
                                   {"n", 0},
                                   {"limit?", 0},
                                   {"num_fewshot", 0},
                                   {"reference", 0.0},
                                   {"value", 0.0},
                                   {"change", 0.0},
                                   {"change_ci95?", kRange},
                                   {"lost", 0},
                                   {"won", 0},
                                   {"verdict", ""}}})},
          {"damage?", Json::array({{{"block", ""}, {"hidden_error?", 0.0}}})},
          {"overlap?", {{"shared", 0}, {"places", 0}, {"share", 0.0}, {"windows_share", 0.0}}},
          {"notes?", Json::array({""})}};
}

Json receipt_shape() {
  return {
      {"source?", {{"weights?", ""}}},
      {"recipe?",
       {{"name", ""}, {"summary?", ""}, {"keep?", Json::array({""})}, {"dense_dtype?", ""}}},
      {"calibration?",
       {{"samples", 0}, {"length", 0}, {"data", ""}, {"windows", ""}, {"scarce?", ""}}},
      {"layers?",
       Json::array({{{"op", ""},
                     {"rounder", ""},
                     {"fallback?", ""},
                     {"dead_columns?", 0},
                     {"clamped_scales?", 0},
                     {"format",
                      {{"bits", 0}, {"granularity", ""}, {"group?", 0}, {"symmetric?", true}}}}})},
      {"quantized_bits_per_weight?", 0.0}};
}

}  // namespace

void check_measured(const Json& measured, const std::string& path) {
  check_shape(measured, measured_shape(), path, "delete it and measure again");
}

void check_receipt(const Json& receipt, const std::string& path) {
  check_shape(receipt, receipt_shape(), path, "delete it to read the folder unchecked");
}

}  // namespace halftone::report
