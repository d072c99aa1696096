// The stream driver: a model and a resolved recipe become a packed folder, piece by piece of its
// blocks (schedule.h).
//
//   preflight -> scan (finite, hash) -> calibration -> work folder
//       -> for each piece: observe, round, write part, journal
//       -> assemble
//
// Work is kept in `<output>.work`: lock, run.json (fingerprint), journal, one part a piece, spilled
// activations, the folder being assembled. A run that was killed goes on at the piece it lost and
// ends with the same bytes; `output` appears whole, by one rename.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/recipe/block_engine.h"
#include "halftone/recipe/calibration.h"
#include "halftone/recipe/recipe.h"
#include "halftone/recipe/rounder.h"
#include "halftone/spec/checkpoint.h"

namespace halftone::recipe {

struct QuantizeRequest {
  spec::Checkpoint checkpoint;  // dense
  Recipe recipe;                // resolved
  std::string output;           // folder
  bool resume = false, force = false;
  // fall-backs of rounders end the run (NumericError) instead of being warned of
  bool strict = false;
  // bytes of activations kept in memory: hidden states, then what the engine keeps between passes
  uint64_t spill_budget = 1ull << 30;
  uint64_t memory_limit = 0;   // 0: none; else the estimate must stay below
  std::string resume_command;  // what an interrupted run tells the user to type
};

// What the program can do, given to the driver so that recipe/ stays lean. All may be empty but
// `parts`.
struct Capabilities {
  const Parts* parts = nullptr;
  // of rounders that the lean tables do not run themselves
  std::function<const rounder::Run*(const std::string& rounder)> run;
  // may keep that many bytes between the passes over a unit
  std::function<std::unique_ptr<BlockEngine>(uint64_t keep_bytes)> engine;
  std::function<CalibrationSet(const CalibrationRequest&)> calibrate;
  // Tokenizer files to write for a model that has none beside it (GGUF): name, contents.
  std::function<std::vector<std::pair<std::string, std::string>>()> tokenizer_files;
  // the text side is needed no more: its memory can go before the blocks come
  std::function<void()> text_done;
  // f32 GFLOP/s of the engine's matrix product, for the time estimate
  std::function<double()> measure_gflops;
  // "openblas haswell": part of the fingerprint, as bytes may depend on it
  std::string numeric_path;
};

struct LayerReport {
  std::string op, rounder;
  format::Format format;
  double bits_per_weight = 0;
  double error = 0, nearest_error = 0;  // as rounder::Result
  double damping = 0;
  int64_t dead_columns = 0, clamped_scales = 0;
  bool scattered = false;  // columns do not lie in groups in order
  bool refitted = false;   // as rounder::Result
  std::string fallback;
  // error / nearest_error; 1 when both are 0.
  double ratio() const;
};
Json to_json(const LayerReport& report);
// True bits of a weight over all these linears; 0 without any.
double bits_per_weight(const std::vector<LayerReport>& layers, const spec::ModelSpec& spec);

struct PlanReport {
  struct Row {
    std::string format;  // label
    int64_t linears = 0, parameters = 0;
    uint64_t bytes = 0;
  };
  std::string layout;     // "compressed-tensors", "halftone", "gptq v1"
  std::vector<Row> rows;  // quantized linears by format; the last row is "dense"
  int64_t parameters = 0, quantized_parameters = 0;
  uint64_t output_bytes = 0;         // all tensors
  uint64_t work_bytes = 0;           // parts, spilled activations, the folder being assembled
  double bits_per_weight = 0;        // of quantized linears: codes, scales, zeros
  double nominal_bits = 0;           // codes alone
  double model_bits_per_weight = 0;  // output_bytes * 8 / parameters
  uint64_t peak_memory = 0;          // estimate, bytes
  double seconds = 0, gflops = 0;    // estimate and the speed measured for it
};
Json to_json(const PlanReport& plan);

struct QuantizeResult {
  PlanReport plan;
  std::vector<LayerReport> layers;
  std::optional<CalibrationReport> calibration;
  int64_t blocks = 0, reused_blocks = 0;
  bool already_complete = false;  // --resume found the finished result
  int64_t fallbacks = 0;
  uint64_t output_bytes = 0;   // of all files
  double bits_per_weight = 0;  // true bits of the quantized linears
  std::string fingerprint;
  double seconds = 0;
};
Json to_json(const QuantizeResult& result);

// Everything that can be said before any work; writes nothing. Runs the checks of preflight but the
// writing probe and the scan.
PlanReport plan_quantize(const QuantizeRequest& request, const Capabilities& can,
                         const Context& context);

// Errors by exit code: 2 output exists, options; 3 input; 4 disk; 5 memory estimate; 6 not finite,
// a rounder that did nothing; 7 interrupted, with the resume command. The work folder stays for
// --resume unless the error came before any work.
QuantizeResult quantize(const QuantizeRequest& request, const Capabilities& can,
                        const Context& context);

}  // namespace halftone::recipe
