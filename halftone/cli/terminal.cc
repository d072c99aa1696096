#include "halftone/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "halftone/base/error.h"

namespace halftone::cli {
namespace {

bool set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool dumb() {
  const char* term = std::getenv("TERM");
  return term == nullptr || std::string_view(term) == "dumb" || set("CI");
}

void put(FILE* file, std::string_view text) {
  errno = 0;
  const bool whole =
      std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fflush(file) == 0;
  // A result that was not delivered is a failure; a remark on stderr has no other place to go.
  if (!whole && file == stdout) throw IoError("stdout", "write", errno);
}

std::string format(const char* pattern, double x) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), pattern, x);
  return buffer;
}

}  // namespace

Terminal::Terminal(bool quiet) : quiet_(quiet), tty_(::isatty(2) && !dumb()) {
  winsize size{};
  if (::ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) width_ = size.ws_col;
}

void Terminal::clear() {
  if (line_open_ && tty_) put(stderr, "\r\033[K");
}

void Terminal::out(std::string_view text) {
  std::lock_guard lock(mutex_);
  clear();
  put(stdout, printable(text, true) + "\n");
}

void Terminal::piece(std::string_view text) { put(stdout, text); }

void Terminal::note(std::string_view text) {
  if (quiet_) return;
  std::lock_guard lock(mutex_);
  clear();
  put(stderr, printable(text, true) + "\n");
}

void Terminal::warn(std::string_view text) {
  std::lock_guard lock(mutex_);
  clear();
  put(stderr, "warning: " + printable(text) + "\n");
}

void Terminal::progress(const Progress& p) {
  if (quiet_) return;
  std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  if (p.stage != stage_) {
    if (line_open_ && tty_) put(stderr, "\r\033[K");
    line_open_ = false;
    stage_ = p.stage;
    unit_ = p.unit;
    stage_start_ = last_drawn_ = last_rate_ = now;
    last_done_ = p.done;
    rate_ = 0;
    last_share_ = 0;
  }
  done_ = p.done;
  const double since = std::chrono::duration<double>(now - last_rate_).count();
  if (since > 0.2 && p.done > last_done_) {
    // A smoothed rate: fast enough to follow a change of stage inside a block, slow enough not to
    // jump.
    const double current = (p.done - last_done_) / since;
    const double overall =
        p.done / std::max(1e-9, std::chrono::duration<double>(now - stage_start_).count());
    rate_ = rate_ == 0 ? overall : 0.7 * rate_ + 0.3 * (0.5 * current + 0.5 * overall);
    last_rate_ = now;
    last_done_ = p.done;
  }
  draw(p, now);
}

void Terminal::draw(const Progress& p, Clock::time_point now) {
  const double elapsed = std::chrono::duration<double>(now - stage_start_).count();
  const double share = p.total > 0 ? std::clamp(p.done / p.total, 0.0, 1.0) : 0;
  const double since = std::chrono::duration<double>(now - last_drawn_).count();
  if (elapsed < 0.5) return;
  if (tty_ ? since < 0.1 : (share - last_share_ < 0.1 && since < 30)) return;
  last_drawn_ = now;
  last_share_ = share;
  std::string line(p.stage);
  if (p.total > 0) line += "  " + format("%3.0f %%", share * 100);
  if (!p.detail.empty()) line += "  " + std::string(p.detail);
  if (!p.unit.empty() && rate_ > 0)
    line += "  " + significant(rate_) + " " + std::string(p.unit) + "/s";
  if (p.total > 0 && rate_ > 0 && share < 1)
    line += std::string(share < 0.1 ? "  about " : "  ") +
            duration(std::max(0.0, (p.total - p.done) / rate_)) + " left";
  line = printable(line);
  if (tty_) {
    if (static_cast<int64_t>(line.size()) >= width_) line.resize(static_cast<size_t>(width_ - 1));
    put(stderr, "\r\033[K" + line);
    line_open_ = true;
  } else {
    put(stderr, line + "\n");
  }
}

void Terminal::finish_stage() {
  std::lock_guard lock(mutex_);
  clear();
  line_open_ = false;
  stage_.clear();
}

std::string duration(double seconds) {
  if (seconds < 10) return format("%.1f s", seconds);
  const auto total = static_cast<int64_t>(std::lround(seconds));
  if (total < 60) return std::to_string(total) + " s";
  char buffer[32];
  if (total < 3600)
    std::snprintf(buffer, sizeof(buffer), "%ld:%02ld", static_cast<long>(total / 60),
                  static_cast<long>(total % 60));
  else
    std::snprintf(buffer, sizeof(buffer), "%ld:%02ld:%02ld", static_cast<long>(total / 3600),
                  static_cast<long>(total / 60 % 60), static_cast<long>(total % 60));
  return buffer;
}

std::string bytes_text(double bytes) {
  if (bytes >= 1e9) return format("%.2f GB", bytes / 1e9);
  if (bytes >= 1e6) return format("%.1f MB", bytes / 1e6);
  if (bytes >= 1e3) return format("%.1f kB", bytes / 1e3);
  return format("%.0f B", bytes);
}

std::string count_text(double n) {
  std::string digits = format("%.0f", n);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > (n < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string TextTable::text() const {
  const size_t count = head.size();
  // Width left and right of the decimal point of each numeric column.
  std::vector<size_t> left(count), right(count);
  const auto point = [](const std::string& cell) {
    return columns(std::string_view(cell).substr(0, cell.find('.')));
  };
  for (const auto& row : rows) {
    for (size_t c = 0; c < count && c < row.size(); ++c) {
      left[c] = std::max(left[c], c == 0 ? columns(row[c]) : point(row[c]));
      if (c) right[c] = std::max(right[c], columns(row[c]) - point(row[c]));
    }
  }
  std::string out;
  std::vector<size_t> width(count);
  for (size_t c = 0; c < count; ++c) {
    width[c] = std::max(columns(head[c]), left[c] + right[c]);
    const std::string pad(width[c] - columns(head[c]), ' ');
    out += c ? "  " + pad + head[c] : head[c] + pad;
  }
  out += "\n";
  for (const auto& row : rows) {
    std::string line;
    for (size_t c = 0; c < count; ++c) {
      const std::string cell = c < row.size() ? row[c] : "";
      if (c == 0) {
        line += cell + std::string(width[0] - columns(cell), ' ');
      } else {
        const size_t after = right[c] - (columns(cell) - point(cell));
        const size_t before = width[c] - columns(cell) - after;
        line += "  " + std::string(before, ' ') + cell + std::string(after, ' ');
      }
    }
    while (line.ends_with(' ')) line.pop_back();
    out += line + "\n";
  }
  return out;
}

}  // namespace halftone::cli
