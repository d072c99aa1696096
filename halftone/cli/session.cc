#include "halftone/cli/session.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "halftone/base/error.h"
#include "halftone/base/version.h"
#include "halftone/text/table.h"

namespace halftone::cli {
namespace {

std::atomic<bool> stop_asked{false};

// The first signal asks for a stop at the next safe point, the second ends the process at once.
void on_signal(int number) {
  if (stop_asked.exchange(true)) {
    ::signal(number, SIG_DFL);
    ::raise(number);
  }
}

constexpr std::string_view kFooter =
    "Exit codes: 0 ok, 1 internal, 2 usage, 3 bad input, 4 I/O, 5 limit or memory, 6 numeric, 7 "
    "interrupted but resumable.\n"
    "More: halftone COMMAND --help, docs/ of the project.";

// A closed standard stream would hand its number to the next file opened, and what is meant for the
// stream would end up in there.
void hold_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
        ::open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
      return;
}

int report(Terminal& terminal, const Error& error) {
  terminal.finish_stage();
  // Who closed the pipe (`halftone ... | head`) has what he wanted.
  if (const auto* io = dynamic_cast<const IoError*>(&error);
      io != nullptr && io->subject() == "stdout" && io->error_number == EPIPE)
    return static_cast<int>(error.exit());
  std::fprintf(stderr, "halftone: %s\n", error.line().c_str());
  return static_cast<int>(error.exit());
}

}  // namespace

std::string program_folder() {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof(path) - 1);
  if (n <= 0) return ".";
  path[n] = '\0';
  return parent_path(path);
}

Session::Session(std::vector<std::string> argv_in, const TorchParts* torch_in)
    : env(posix_env()),
      torch(torch_in),
      argv(std::move(argv_in)),
      places(files::default_data_places(*env)) {
  places.parquet = text::parquet_reader(*env);
}

void Session::add_threads(CLI::App& app) {
  app.add_option("--threads", threads, "worker threads (default: the cores this process may use)")
      ->check(CLI::Range(1, 1024));
  app.add_option(
         "--pin", pin,
         "keep each worker on a CPU of its own: on, off, or auto (where there is one worker "
         "for each; default)")
      ->check(CLI::IsMember({"auto", "on", "off"}));
}
void Session::add_json(CLI::App& app) {
  app.add_flag("--json", json, "print the result as JSON on stdout");
}
void Session::add_quiet(CLI::App& app) {
  app.add_flag("-q,--quiet", quiet, "no progress and no notes on stderr");
}

void Session::add_device(CLI::App& app) {
  app.add_option("--device", device, "where torch computes: cpu, cuda, cuda:N (default cpu)");
}

Context& Session::start() {
  terminal.set_quiet(quiet);
  const int64_t cores = usable_cores();
  context.threads = threads > 0 ? threads : cores;
  if (context.threads > cores)
    terminal.warn(std::to_string(context.threads) + " threads on " + std::to_string(cores) +
                  " cores: running as asked, slower than with --threads " + std::to_string(cores));
  pool_ = std::make_unique<ThreadPool>(context.threads,
                                       pin == "on" || (pin == "auto" && context.threads == cores));
  context.pool = pool_.get();
  context.env = env.get();
  context.stop = &stop_asked;
  context.log = [this](Level level, std::string_view text) {
    if (level == Level::warning)
      terminal.warn(text);
    else if (level == Level::info || verbose)
      terminal.note(text);
  };
  context.progress = [this](const Progress& p) { terminal.progress(p); };
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  if (torch != nullptr) torch->check_device(device);
  return context;
}

std::optional<std::string> Session::worker_path() const {
  const std::string here = program_folder();
  for (const std::string& path :
       {join_path(here, "halftone-worker"), join_path(here, "../libexec/halftone/halftone-worker")})
    if (env->stat(path)) return path;
  return std::nullopt;
}

std::string Session::lean_program() const {
  if (torch == nullptr) return "/proc/self/exe";
  const std::string here = program_folder();
  for (const std::string& path :
       {join_path(here, "halftone"), join_path(here, "../../bin/halftone")})
    if (env->stat(path)) return path;
  throw IoError(join_path(here, "halftone"), "find the program of this worker", ENOENT);
}

void Session::need_torch(std::string_view what_for) {
  if (torch != nullptr) return;
  if (const auto path = worker_path()) {
    // One BLAS thread a call: we split the work ourselves, so that any thread count gives the same
    // bytes.
    ::setenv("OPENBLAS_NUM_THREADS", "1", 1);
    ::setenv("OMP_NUM_THREADS", "1", 1);
    std::vector<char*> arguments;
    for (std::string& argument : argv) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    ::execv(path->c_str(), arguments.data());
    throw IoError(*path, "exec", errno);
  }
  throw UnsupportedError(
      "halftone",
      std::string(what_for) +
          " needs the worker with libtorch, which is not installed beside this program",
      "build the preset release (not lean), or choose a recipe without calibration such as "
      "rtn_int4_g64");
}

void Session::print(const Json& result, const std::function<void()>& text) {
  terminal.finish_stage();
  if (json)
    terminal.out(result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  else
    text();
}

int main_program(int argc, char** argv, const TorchParts* torch) {
  hold_standard_streams();
  Session session({argv, argv + argc}, torch);
  CLI::App app(
      "Halftone quantizes transformers, runs the result fast and small, and measures exactly what "
      "was lost.",
      "halftone");
  app.footer(std::string(kFooter));
  app.set_version_flag("--version",
                       "halftone " HALFTONE_VERSION " (" + std::string(program_commit()) + ")");
  app.require_subcommand(1);
  std::function<int()> action;
  try {
    for (const auto& row : entries()) {
      CLI::App* sub = app.add_subcommand(row.name, row.entry.summary);
      if (!row.entry.examples.empty()) sub->footer("Examples:\n" + row.entry.examples);
      auto run = row.entry.declare(*sub, session);
      sub->callback([&action, run] { action = run; });
    }
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& e) {
      return app.exit(e);
    } catch (const CLI::ParseError& e) {
      std::vector<std::string> names;
      for (const auto& row : entries()) names.push_back(row.name);
      const std::string command = argc > 1 && argv[1][0] != '-' ? argv[1] : "";
      if (command.empty()) throw InputError("halftone", e.what(), "see halftone --help");
      if (std::find(names.begin(), names.end(), command) == names.end())
        throw InputError("halftone", "there is no command " + quote(command),
                         did_you_mean(command, names, "commands: " + listed(names)));
      throw InputError("halftone", e.what(), "see halftone " + command + " --help");
    }
    return action();
  } catch (const Error& e) {
    return report(session.terminal, e);
  } catch (const std::bad_alloc&) {
    return report(
        session.terminal,
        Error(Code::budget, {}, "out of memory",
              "use fewer threads, shorter text or windows, or a machine with more memory"));
  } catch (const std::exception& e) {
    return report(session.terminal,
                  Error(Code::internal, {}, e.what(), "this is a bug in halftone"));
  }
}

}  // namespace halftone::cli
