// One run of the program: what every command is given.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/entries.h"
#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/base/threads.h"
#include "halftone/cli/terminal.h"
#include "halftone/eval/logit_source.h"
#include "halftone/files/datasets.h"
#include "halftone/pack/packed_model.h"
#include "halftone/recipe/block_engine.h"
#include "halftone/recipe/rounder.h"

namespace halftone::cli {

// What the worker brings and the lean program lacks.
struct TorchParts {
  // `device` as torch writes it: "cpu", "cuda", "cuda:1". UnsupportedError when this libtorch has
  // it not.
  std::function<std::unique_ptr<recipe::BlockEngine>(const spec::Checkpoint& checkpoint,
                                                     const std::string& device, uint64_t keep_bytes,
                                                     const Context& context)>
      block_engine;
  std::function<std::unique_ptr<eval::LogitSource>(std::shared_ptr<const pack::PackedModel> model,
                                                   const std::string& device,
                                                   const Context& context)>
      logit_source;
  std::function<void(const std::string& device)> check_device;  // throws as the two above
  std::span<const Named<rounder::Run>> rounder_runs;
  std::function<double()> measure_gflops;     // f32 matrix product, all threads
  std::function<std::string()> numeric_path;  // "openblas SkylakeX": bytes may depend on it
  // for `doctor`: torch version, sgemm GFLOP/s
  std::function<std::vector<std::pair<std::string, std::string>>()> facts;
};

class Session {
 public:
  Session(std::vector<std::string> argv, const TorchParts* torch);

  // Options that most commands share.
  void add_threads(CLI::App& app);
  void add_json(CLI::App& app);
  void add_quiet(CLI::App& app);
  void add_device(CLI::App& app);

  // Builds pool and context from the parsed options; warns once when there are more threads than
  // cores.
  Context& start();

  // Replaces this process by the worker, same arguments; returns only in the worker itself.
  // UnsupportedError when it is not installed.
  void need_torch(std::string_view what_for);
  std::optional<std::string> worker_path() const;
  // The lean program: this one, or the one that this worker belongs to. IoError when it is gone.
  std::string lean_program() const;

  // Prints `result` as JSON under --json, else calls `text`.
  void print(const Json& result, const std::function<void()>& text);

  Terminal terminal;
  std::unique_ptr<Env> env;
  const TorchParts* torch;  // null in the lean program
  std::vector<std::string> argv;
  bool json = false, quiet = false, verbose = false;
  std::string device = "cpu";  // of torch
  int64_t threads = 0;         // 0: all usable cores
  std::string pin = "auto";    // auto, on, off
  Context context;
  files::DataPlaces places;  // --data is applied by the commands that have it

 private:
  std::unique_ptr<ThreadPool> pool_;
};

// A command is one file in cli/command/: `Command quantize();`.
struct Command {
  std::string summary;
  std::string examples;  // shown under --help
  // Adds options to `app` and returns what to run once they are parsed; its result is the exit
  // code.
  std::function<std::function<int()>(CLI::App& app, Session& session)> declare;
};
std::span<const Named<Command>> entries();

// Parses, runs, and turns errors into one line on stderr and an exit code.
int main_program(int argc, char** argv, const TorchParts* torch);

// Folder of this executable.
std::string program_folder();

}  // namespace halftone::cli
