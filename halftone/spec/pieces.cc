#include "halftone/spec/pieces.h"

#include <algorithm>

namespace halftone::spec {
namespace {

bool is_linear(const Op& op) { return std::holds_alternative<Linear>(op.params); }

// Widths of all values of a validated segment.
std::vector<int64_t> widths(const Segment& segment, int64_t input) {
  std::vector<int64_t> out = {input};
  for (const Op& op : segment.ops) {
    const auto* linear = std::get_if<Linear>(&op.params);
    const auto* attention = std::get_if<Attention>(&op.params);
    out.push_back(linear      ? linear->out
                  : attention ? attention->heads * attention->head_dim
                              : out.at(static_cast<size_t>(op.in.at(0).value)));
  }
  return out;
}

// Does everything from op `at` on read only the newest value and its own?
bool is_cut(const Segment& segment, size_t at) {
  return std::all_of(segment.ops.begin() + static_cast<std::ptrdiff_t>(at), segment.ops.end(),
                     [&](const Op& op) {
                       return std::all_of(op.in.begin(), op.in.end(), [&](const View& view) {
                         return view.value >= static_cast<int32_t>(at);
                       });
                     });
}

Segment slice(const Segment& block, size_t begin, size_t end) {
  Segment out{.name = block.name,
              .ops = {block.ops.begin() + static_cast<std::ptrdiff_t>(begin),
                      block.ops.begin() + static_cast<std::ptrdiff_t>(end)}};
  for (Op& op : out.ops) {
    for (View& view : op.in) view.value -= static_cast<int32_t>(begin);
    op.out -= static_cast<int32_t>(begin);
  }
  return out;
}

// What the names of its linears have in common, up to a dot.
std::string common_name(const Segment& piece) {
  std::optional<std::string> common;
  for (const Op& op : piece.ops) {
    if (!is_linear(op)) continue;
    if (!common) {
      common = op.name.substr(0, op.name.rfind('.') + 1);
      continue;
    }
    const auto differ =
        std::mismatch(common->begin(), common->end(), op.name.begin(), op.name.end()).first;
    common->erase(differ, common->end());
    common->erase(common->rfind('.') + 1);
  }
  if (common && !common->empty()) common->pop_back();
  return common && common->size() > piece.name.size() ? *common : piece.name;
}

}  // namespace

std::vector<Segment> pieces(const Segment& block, int64_t width) {
  const std::vector<int64_t> wide = widths(block, width);
  std::vector<Segment> out;
  size_t begin = 0;
  const auto has_linear = [&](size_t first, size_t last) {
    return std::any_of(block.ops.begin() + static_cast<std::ptrdiff_t>(first),
                       block.ops.begin() + static_cast<std::ptrdiff_t>(last), is_linear);
  };
  for (size_t at = 1; at < block.ops.size(); ++at) {
    // The last place before the next linear, so that a norm after the sum stays with what made the
    // sum.
    if (!has_linear(begin, at) || !has_linear(at, block.ops.size()) || wide[at] != width ||
        !is_cut(block, at))
      continue;
    size_t later = at;
    for (size_t next = at + 1; next < block.ops.size() && !has_linear(at, next); ++next)
      if (wide[next] == width && is_cut(block, next)) later = next;
    out.push_back(slice(block, begin, later));
    begin = at = later;
  }
  out.push_back(slice(block, begin, block.ops.size()));
  for (Segment& piece : out)
    if (out.size() > 1) piece.name = common_name(piece);
  return out;
}

}  // namespace halftone::spec
