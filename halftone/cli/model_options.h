// Options of every command that runs a model on the runtime.
#pragma once

#include <string>

#include "halftone/cli/session.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/model.h"

namespace halftone::cli {

struct ModelOptions {
  std::string mode = "int8";           // exact | int8
  const CLI::Option* asked = nullptr;  // --mode
  void declare(CLI::App& app, const std::string& default_mode) {
    mode = default_mode;
    asked = app.add_option(
                   "--mode", mode,
                   "exact: float activations, the meaning of the weights; int8: activations in 8 "
                   "bits, faster (default " +
                       default_mode + ")")
                ->check(CLI::IsMember({"exact", "int8"}));
  }
};

struct LoadedModel {
  std::shared_ptr<const pack::PackedModel> packed;
  std::shared_ptr<const runtime::Model> model;
  double load_ms = 0;
};
LoadedModel load_model(const std::string& name, const std::string& mode, const Context& context);

}  // namespace halftone::cli
