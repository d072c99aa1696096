// halftone doctor: is this machine set up, and what can it do.
#include <sys/sysinfo.h>

#include <cstdlib>

#include "halftone/base/error.h"
#include "halftone/base/version.h"
#include "halftone/cli/session.h"
#include "halftone/kernel/isa.h"
#include "halftone/spec/model_names.h"

namespace halftone::cli {
namespace {

struct Check {
  std::string name, finding;
  bool good = true;
  std::string remedy;
};

int run(Session& session) {
  // The worker knows about libtorch; where it is installed, it answers.
  if (session.torch == nullptr && session.worker_path()) session.need_torch("doctor");
  const Context& context = session.start();
  std::vector<Check> checks;
  struct sysinfo memory {};
  ::sysinfo(&memory);
  checks.push_back({"cpu", kernel::cpu_name() + " (" + kernel::cpu_flags() + "), " +
                               std::to_string(usable_cores()) + " cores usable"});
  const kernel::Isa isa = kernel::choose_isa(std::getenv("HALFTONE_ISA"));
  checks.push_back({"kernels", std::string(kernel::isa_name(isa)), isa != kernel::Isa::scalar,
                    "this CPU has neither AVX2 nor NEON dot products: everything works, slowly"});
  checks.push_back({"memory", bytes_text(static_cast<double>(memory.totalram) * memory.mem_unit)});
  for (const auto& named : spec::named_models()) {
    const std::string path = join_path(spec::cache_folder(), named.path);
    const bool there = context.env->stat(path).has_value();
    checks.push_back(
        {"model " + named.name, there ? path : "not in the cache", there, named.remedy});
  }
  const auto data = context.env->stat(session.places.data_dir);
  const bool data_there = data && data->is_directory;
  checks.push_back(
      {"data",
       session.places.data_dir.empty() ? "HALFTONE_DATA is not set"
       : data_there                    ? session.places.data_dir
                                       : session.places.data_dir + " is no folder",
       data_there,
       "evaluation then looks for wikitext2 in the hub cache only, calibration samples from the "
       "model itself"});
  checks.push_back({"hub cache", session.places.hub_cache,
                    context.env->stat(session.places.hub_cache).has_value(),
                    "hub names resolve there once it exists"});
  if (session.torch != nullptr) {
    for (const auto& [name, finding] : session.torch->facts()) checks.push_back({name, finding});
  } else {
    checks.push_back({"libtorch worker", "not installed", false,
                      "calibrated recipes (gptq) need it: build the preset release"});
  }
  Json rows = Json::array();
  for (const Check& check : checks)
    rows.push_back({{"name", check.name},
                    {"finding", check.finding},
                    {"good", check.good},
                    {"remedy", check.good ? "" : check.remedy}});
  session.print({{"version", HALFTONE_VERSION}, {"commit", program_commit()}, {"checks", rows}},
                [&] {
                  session.terminal.out("halftone " HALFTONE_VERSION " (" +
                                       std::string(program_commit()) + ")");
                  for (const Check& check : checks) {
                    std::string line =
                        (check.good ? "  ok    " : "  note  ") + check.name + ": " + check.finding;
                    if (!check.good && !check.remedy.empty()) line += "; " + check.remedy;
                    session.terminal.out(line);
                  }
                });
  return 0;
}

}  // namespace

Command doctor() {
  return {.summary = "check this machine: CPU, kernels, models, data, libtorch",
          .examples = "  halftone doctor\n  halftone doctor --json",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            session.add_json(app);
            return [&session] { return run(session); };
          }};
}

}  // namespace halftone::cli
