// How a long text is cut for perplexity. Two published protocols give two numbers, so each carries
// its name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace halftone::eval {

// One forward pass: tokens [begin, end), of which the targets [first_target, end) are scored.
// Target t is predicted from position t - 1.
struct Window {
  int64_t begin = 0, end = 0, first_target = 0;
  double weight = 0;  // of the window's mean nll in the average
};

struct Protocol {
  std::string name;  // "gptq-2048", "strided-2048-512"
  std::vector<Window> windows;
  // Tokens at the end of the text that are too few for a window; not what a limit leaves out.
  int64_t dropped = 0;
};

// floor(T / length) disjoint windows, every position but the first of each is scored; windows weigh
// the same (GPTQ scripts).
Protocol gptq_windows(int64_t tokens, int64_t length, int64_t limit = 0);
constexpr int64_t kWindow = 2048;  // tokens, where nothing else is asked
// InputError when windows of `window` tokens that advance by `stride` would leave text out.
void check_stride(int64_t stride, int64_t window);
// Windows of `length` that advance by `stride`; each scores only what the one before did not
// (Hugging Face's guide, its weights of labels kept minus one included).
Protocol strided_windows(int64_t tokens, int64_t length, int64_t stride, int64_t limit = 0);

// The ids of each window, as texts of their own.
std::vector<std::vector<int32_t>> texts_of(const Protocol& protocol, std::span<const int32_t> ids);

}  // namespace halftone::eval
