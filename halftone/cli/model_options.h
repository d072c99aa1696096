// Options of commands that run a model, and of those that only want its logits.
#pragma once

#include <functional>
#include <string>

#include "halftone/cli/session.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/model.h"

namespace halftone::cli {

struct ModelOptions {
  std::string mode = "int8";  // exact | int8 | tables
  int64_t head_bits = 0;
  std::string kv;  // runtime::kv_type_names(); empty: by mode
  std::string tile_cache;
  std::string activation_block;        // 32 .. 256 | row; empty: by weights and role
  const CLI::Option* asked = nullptr;  // --mode
  const CLI::Option* asked_head = nullptr;
  const CLI::Option* asked_kv = nullptr;
  const CLI::Option* asked_cache = nullptr;
  const CLI::Option* asked_block = nullptr;
  runtime::LoadOptions options() const;
  void declare(CLI::App& app, const std::string& default_mode);
};

struct LoadedModel {
  std::shared_ptr<const pack::PackedModel> packed;
  std::shared_ptr<const runtime::Model> model;
  double load_ms = 0;
};
// `opened` is called when the model's headers are read and its weights are not.
LoadedModel load_model(const std::string& name, const ModelOptions& options, const Context& context,
                       const std::function<void(const pack::PackedModel&)>& opened = {});

// Where logits come from: the runtime's real kernels, or torch, which simulates.
struct LogitOptions {
  std::string engine = "runtime";  // runtime | torch
  ModelOptions load;
  void declare(CLI::App& app, Session& session);
  // Hands over to the worker where torch is asked for; InputError for options that do not go
  // together. Before session.start().
  void settle(Session& session) const;
};
// All but the model's files that decides a logit.
std::string logit_settings(const eval::LogitSource& source, const Session& session);

// Tokens of a window: --window (0: 2048), at most the model's context; warns where what was asked
// for does not fit.
int64_t window_length(int64_t asked, int64_t model_context, const Context& context);

struct LogitModel {
  std::shared_ptr<const pack::PackedModel> packed;
  std::unique_ptr<eval::LogitSource> source;
  std::shared_ptr<const runtime::Model> model;  // null with --engine torch
};
LogitModel load_logits(const std::string& name, const LogitOptions& options,
                       const Session& session);

}  // namespace halftone::cli
