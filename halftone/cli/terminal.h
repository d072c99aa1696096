// What a person sees: results on stdout, everything else on stderr, one progress line that knows
// its remaining time.
//
// On a terminal the line is redrawn at most ten times a second, from half a second on; a finished
// stage stays as one past-tense line. Elsewhere (pipe, CI, TERM=dumb): plain lines every 10 % or
// 30 s. Nothing is coloured; --quiet and --json are respected. Names from files reach the terminal
// with control bytes escaped. Results that stdout does not take throw IoError.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/numbers.h"

namespace halftone::cli {

class Terminal {
 public:
  explicit Terminal(bool quiet = false);
  void set_quiet(bool quiet) { quiet_ = quiet; }

  void out(std::string_view text);    // a line of the result, stdout
  void piece(std::string_view text);  // generated text as it comes, stdout, unchanged
  void note(std::string_view text);   // a line beside it, stderr
  void warn(std::string_view text);
  void progress(const Progress& p);  // thread-safe
  void finish_stage();               // ends the progress line, if there is one

  int64_t width() const { return width_; }

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const Progress& p, Clock::time_point now);
  void clear();

  std::mutex mutex_;
  bool quiet_, tty_;
  int64_t width_ = 80;
  // the stage under way
  std::string stage_, unit_;
  Clock::time_point stage_start_, last_drawn_, last_rate_;
  double last_done_ = 0, rate_ = 0, last_share_ = 0, done_ = 0;
  bool line_open_ = false;
};

// "1:38", "2:04:10", "0.8 s": durations as people read them.
std::string duration(double seconds);
std::string bytes_text(double bytes);  // "86.4 MB" (decimal, as disks and hubs count)
std::string count_text(double n);      // "16,384"

// Numbers right-aligned on the decimal point, two spaces between columns; the first column is text.
struct TextTable {
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
  std::string text() const;
};

}  // namespace halftone::cli
