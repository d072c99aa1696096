#include "halftone/cli/child.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "halftone/base/error.h"

namespace halftone::cli {

Json child_json(const Session& session, const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe(ends) != 0) throw IoError("pipe", "create", errno);
  const std::string program = session.lean_program();
  std::vector<std::string> words = {"halftone"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) throw IoError("fork", "start", errno);
  if (child == 0) {
    ::dup2(ends[1], 1);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof(buffer))) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    out.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  session.context.throw_if_stopped();
  const std::string command = "halftone " + arguments[0] + " " + arguments[1];
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error(Code::internal, arguments[1], "its " + arguments[0] + " run failed",
                "run " + command);
  return parse_json(out, command);
}

Json bench_child(const std::string& model, const BenchRun& run, const Session& session) {
  return child_json(session,
                    {"bench", model, "--json", "--quiet", "--prefill", std::to_string(run.prefill),
                     "--decode", std::to_string(run.decode), "--repeat", std::to_string(run.repeat),
                     "--threads", std::to_string(session.context.threads)});
}

}  // namespace halftone::cli
