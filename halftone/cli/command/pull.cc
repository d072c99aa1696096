// halftone pull: puts a model where the other commands find it.
#include "halftone/base/error.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/session.h"
#include "halftone/files/hub.h"
#include "halftone/spec/model_names.h"
#include "halftone/spec/rescale.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, revision;
  bool force = false;
};

// Fixed for ever: figures measured on smollm2-fp are comparable only if all of them speak of the
// same weights.
constexpr uint64_t kRescaleSeed = 135;
constexpr double kRescaleSigma = 0.2;

int make_full_precision(Session& session, const Options& options, const std::string& path) {
  const Context& context = session.start();
  const bool there = context.env->stat(join_path(path, "model.safetensors")).has_value();
  if (!there || options.force) {
    const spec::Checkpoint source = spec::open_checkpoint("smollm2", context);
    const ModelText text = open_text(source, context);
    context.env->make_directories(parent_path(path));
    spec::write_rescaled(source, kRescaleSeed, kRescaleSigma, path, context,
                         [&](const std::string& folder) {
                           for (const auto& [name, contents] : text_files(source, text))
                             write_atomically(*context.env, join_path(folder, name), contents);
                         });
  }
  session.print({{"model", options.model}, {"path", path}, {"made", !there || options.force}}, [&] {
    session.terminal.out(options.model + ": " + path +
                         (there && !options.force ? " (was there)" : ""));
  });
  return 0;
}

int pull_from_hub(Session& session, const Options& options) {
  const Context& context = session.start();
  auto repository = files::parse_hub_repo(options.model);
  if (!repository)
    throw InputError("MODEL", quote(options.model) + " is no name of a model on the hub",
                     "names look like ORG/NAME");
  if (!options.revision.empty()) repository->revision = options.revision;
  const std::string folder =
      files::download_model(*repository, files::hub_settings(*context.env), context);
  session.print({{"model", options.model}, {"path", folder}},
                [&] { session.terminal.out(options.model + ": " + folder); });
  return 0;
}

int pull_model(Session& session, const Options& options) {
  for (const auto& named : spec::named_models()) {
    if (named.name != options.model) continue;
    const std::string path = join_path(spec::cache_folder(), named.path);
    if (named.name == "smollm2-fp") return make_full_precision(session, options, path);
    if (!session.env->stat(path))
      throw FileError(Code::missing, path, "the model " + named.name + " is not in the cache", {},
                      named.remedy);
    session.print({{"model", options.model}, {"path", path}, {"made", false}},
                  [&] { session.terminal.out(options.model + ": " + path + " (was there)"); });
    return 0;
  }
  return pull_from_hub(session, options);
}

}  // namespace

Command pull() {
  return {
      .summary = "fetch a model from the hub into the local cache, or make smollm2-fp",
      .examples =
          "  halftone pull HuggingFaceTB/SmolLM2-135M-Instruct\n  halftone pull ORG/NAME "
          "--revision v1.0\n  halftone pull smollm2-fp",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model, "ORG/NAME on the hub, or smollm2-fp")->required();
        app.add_option("--revision", options->revision, "branch, tag or commit (default main)");
        app.add_flag("--force", options->force, "make smollm2-fp again");
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return pull_model(session, *options); };
      }};
}

}  // namespace halftone::cli
