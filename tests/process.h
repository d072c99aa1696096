// Runs the built programs as a user would, and looks at what they leave behind.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace halftone::tests {

struct Outcome {
  int exit = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out, err;
};
// argv[0] is looked up in PATH unless it has a slash. `extra` is added to the environment.
Outcome run(const std::vector<std::string>& argv,
            const std::map<std::string, std::string>& extra = {});
// halftone with these arguments.
Outcome halftone(std::vector<std::string> arguments,
                 const std::map<std::string, std::string>& extra = {});
std::string halftone_path();

// How a run is stopped in the middle: `signal`, to it and all that it started, as soon as `folder`
// holds half as many bytes again as when it began. So it has left something, on a machine of any
// speed that takes longer than cli/run_journal.h waits before it writes (half a second), and few
// stops are spread over all of a run.
struct Stops {
  std::string folder;
  int64_t most = 1;
  int signal = SIGKILL;
  std::function<void()> between = {};  // what else happens to what it left
};
struct StoppedRun {
  std::vector<Outcome> stopped;  // fewer than `most` where a run ends before there is more
  Outcome last;                  // the same command, left to end
};
StoppedRun stopped_and_resumed(const std::vector<std::string>& arguments, const Stops& stops,
                               const std::map<std::string, std::string>& extra = {});

// The data folder (tests/support/data.h), "" when there is none.
std::string data_dir();

// One hash over names and contents of all files below a folder.
std::string folder_hash(const std::string& folder);
// A fresh folder for one test, removed by its destructor.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  std::string path(const std::string& name = "") const;

 private:
  std::string folder_;
};

}  // namespace halftone::tests
