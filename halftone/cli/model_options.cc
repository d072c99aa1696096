#include "halftone/cli/model_options.h"

#include <algorithm>
#include <chrono>

#include "halftone/base/error.h"
#include "halftone/eval/windows.h"

namespace halftone::cli {

void ModelOptions::declare(CLI::App& app, const std::string& default_mode) {
  mode = default_mode;
  asked = app.add_option("--mode", mode,
                         "exact: float activations, the meaning of the weights; int8: activations "
                         "in 8 bits, faster; tables: int8, and weights of 2 bits by tables of what "
                         "pairs of activations add, faster still (default " +
                             default_mode + ")")
              ->check(CLI::IsMember({"exact", "int8", "tables"}));
  asked_head = app.add_option("--head-bits", head_bits,
                              "8 or 4: round a head stored in floats as it is loaded, less to read "
                              "for every token (default: as stored)")
                   ->check(CLI::IsMember({4, 8}));
  asked_kv = app.add_option("--kv", kv,
                            "how keys and values are kept: f32, f16, bf16 (attention in bf16, long "
                            "prompts are read faster), or int8, int4, int2: all but the newest 256 "
                            "tokens in codes, less memory (default: f32 in mode exact, f16 in mode "
                            "int8)")
                 ->check(CLI::IsMember(runtime::kv_type_names()));
  asked_block =
      app.add_option(
             "--activation-block", activation_block,
             "modes int8 and tables: inputs that share a scale, 32, 64, 128, 256 or row (all of a "
             "token); wider is faster and less accurate (default: 64 for 4-bit weights "
             "but mlp_down's, else 32)")
          ->check(CLI::IsMember({"32", "64", "128", "256", "row"}));
  asked_cache = app.add_option("--tile-cache", tile_cache,
                               "folder that keeps the weights as the kernels read them, mapped at "
                               "the next start (default: none)");
}

runtime::LoadOptions ModelOptions::options() const {
  if (!activation_block.empty() && mode == "exact")
    throw InputError("--activation-block " + activation_block,
                     "mode exact has no activations in 8 bits", "add --mode int8, or leave it out");
  return {.numerics = runtime::numerics_from(mode),
          .kv = kv.empty() ? runtime::KvType::by_numerics : runtime::kv_type_from(kv),
          .activation_block = activation_block.empty()    ? 0
                              : activation_block == "row" ? runtime::LoadOptions::kWholeRow
                                                          : std::stoll(activation_block),
          .head_bits = head_bits,
          .tile_cache = tile_cache};
}

LoadedModel load_model(const std::string& name, const ModelOptions& options, const Context& context,
                       const std::function<void(const pack::PackedModel&)>& opened) {
  const auto start = std::chrono::steady_clock::now();
  LoadedModel loaded;
  loaded.packed = pack::open_model(name, context);
  if (opened) opened(*loaded.packed);
  loaded.model = runtime::Model::load(loaded.packed, options.options(), context);
  loaded.load_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return loaded;
}

void LogitOptions::declare(CLI::App& app, Session& session) {
  app.add_option("--engine", engine, "runtime: the real kernels; torch: simulated, for comparison")
      ->check(CLI::IsMember({"runtime", "torch"}));
  load.declare(app, "exact");
  session.add_device(app);
}

void LogitOptions::settle(Session& session) const {
  if (engine == "torch") {
    session.need_torch("--engine torch");
    if (load.mode != "exact" && load.asked->count() > 0)
      throw InputError("--mode " + load.mode, "the torch engine simulates in floats",
                       "leave out --mode, or use --engine runtime");
    if (load.asked_head->count() > 0)
      throw InputError("--head-bits", "the torch engine computes the head as it is stored",
                       "leave it out, or use --engine runtime");
    if (load.asked_kv->count() > 0)
      throw InputError("--kv", "the torch engine keeps no keys and values",
                       "leave it out, or use --engine runtime");
    if (load.asked_block->count() > 0)
      throw InputError("--activation-block", "the torch engine simulates in floats",
                       "leave it out, or use --engine runtime");
    if (load.asked_cache->count() > 0)
      throw InputError("--tile-cache", "the torch engine has no tiles",
                       "leave it out, or use --engine runtime");
  } else if (session.device != "cpu") {
    throw InputError("--device " + session.device, "the runtime computes on the CPU",
                     "add --engine torch, or leave out --device");
  }
}

std::string logit_settings(const eval::LogitSource& source, const Session& session) {
  return source.label() + " " + session.device;  // the label names what was asked for
}

int64_t window_length(int64_t asked, int64_t model_context, const Context& context) {
  if (asked > model_context)
    context.warn("--window " + std::to_string(asked) + ": the model's context is " +
                 std::to_string(model_context) + " tokens, windows have that length");
  return std::min(asked > 0 ? asked : eval::kWindow, model_context);
}

LogitModel load_logits(const std::string& name, const LogitOptions& options,
                       const Session& session) {
  if (options.engine == "torch") {
    auto packed = pack::open_model(name, session.context);
    auto source = session.torch->logit_source(packed, session.device, session.context);
    return {std::move(packed), std::move(source), nullptr};
  }
  const LoadedModel loaded = load_model(name, options.load, session.context);
  return {loaded.packed,
          std::make_unique<runtime::RuntimeLogits>(loaded.model, runtime::SessionOptions{},
                                                   session.context),
          loaded.model};
}

}  // namespace halftone::cli
