// The worker: halftone with libtorch.
#include <torch/version.h>

#include <cstdio>
#include <cstdlib>

#include "halftone/base/threads.h"
#include "halftone/calib/torch_engine.h"
#include "halftone/cli/session.h"
#include "halftone/graph/logit_source.h"
#include "halftone/linalg/linalg.h"

int main(int argc, char** argv) {
  using namespace halftone;
  cli::TorchParts parts;
  parts.block_engine = [](const spec::Checkpoint& checkpoint, const std::string& device,
                          uint64_t keep_bytes, const Context& context) {
    return calib::torch_engine(
        checkpoint, context,
        {.keep_bytes = static_cast<int64_t>(keep_bytes), .tensors = {.device = device}});
  };
  parts.logit_source = [](std::shared_ptr<const pack::PackedModel> model, const std::string& device,
                          const Context& context) {
    return graph::graph_logits(*model, context, {.device = device});
  };
  parts.check_device = [](const std::string& device) { graph::to_torch({.device = device}); };
  parts.rounder_runs = rounder::entries_run();
  parts.measure_gflops = [] { return linalg::measure_sgemm_gflops(); };
  parts.numeric_path = [] { return linalg::numeric_path(); };
  parts.facts = [] {
    char speed[64];
    std::snprintf(speed, sizeof(speed), "%.0f GFLOP/s on one thread",
                  linalg::measure_sgemm_gflops());
    return std::vector<std::pair<std::string, std::string>>{
        {"libtorch", std::string(TORCH_VERSION)},
        {"matrix product", std::string(speed) + ", " + linalg::numeric_path()}};
  };
  return cli::main_program(argc, argv, &parts);
}
